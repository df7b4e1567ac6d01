"""`train.py evaluate --metrics`: how faithful the explanations of a checkpoint are to the model."""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zoo
from zoo.checkpoints.config_file import content_hash, read_config
from zoo.core import registry
from zoo.core.module import SelfInterpretable
from zoo.core.regions import require_regions
from zoo.data.base.fingerprint import fingerprint
from zoo.data.base.module import DataModule
from zoo.metrics.concepts.report import plain
from zoo.metrics.faithfulness import CONTROLS, EncodingGap, Subject, train_evaluator
from zoo.metrics.faithfulness.in_regions import InRegions
from zoo.metrics.faithfulness.rows import NumberedBatches, factors_of, reference_inputs
from zoo.metrics.faithfulness.suite import Measurement, Result, choose
from zoo.training.modes import evaluating
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json, without_nan
from zoo.utils.pieces import Pieces
from zoo.utils.shards import Shard
from zoo.views.faithfulness import Row, faithfulness_page, faithfulness_svg

REPORT = "faithfulness"  # name of the report's files


def report_faithfulness(model: SelfInterpretable, data: DataModule, options: argparse.Namespace) -> None:
    """Writes faithfulness.json, .svg and .html; prints the table.

    Batches of rows are shared by the processes of the command, and kept until the report is written, so that an
    interrupted command resumes.

    Raises:
        ValueError: an unknown metric or imputer, or a control that does not fit the model.
    """
    start, stem = time.perf_counter(), options.output / REPORT
    measurement, batches = prepare(model, data, options)
    shard = Shard.of_environment()
    pieces = Pieces(stem.with_suffix(".json"), identity_of(data, options), len(batches), shard)
    with evaluating(model):
        found = pieces.run(lambda number: measurement.of_batch(batches[number]), "faithfulness", "batch")
    if found is None:
        return  # the last process writes the report
    for one in found:
        measurement.add(one)
    results, rows = measurement.results(), len(batches.rows)
    record = {
        "checkpoint": str(options.checkpoint),
        "model": registry.name_of(type(model)),
        "control": options.control,
        "regions": options.regions,
        "split": options.split,
        "rows": rows,
        "seed": options.seed,
        "metrics": {key: to_dict(result) for key, result in results.items()},
    }
    write_json(stem.with_suffix(".json"), record)
    lines = table(results)
    what = f"{options.control} of {record['model']}" if options.control else record["model"]
    what += f" in {options.regions} regions" if options.regions else ""
    about = f"{what} · {rows:,} {options.split} rows · 95 % intervals over rows"
    drawing = faithfulness_svg(lines)
    write_text(stem.with_suffix(".svg"), drawing)
    write_text(stem.with_suffix(".html"), faithfulness_page(about, drawing, lines))
    pieces.clear()
    print(about)
    print_table(lines)
    seconds = time.perf_counter() - start
    print(f"figure {stem.with_suffix('.html')} · numbers {stem.with_suffix('.json')} · {seconds:.1f} s")


def identity_of(data: DataModule, options: argparse.Namespace) -> dict[str, Any]:
    """What the values of a batch depend on."""
    asked = ("control", "imputers", "limit", "limit_memory", "metrics", "regions", "seed", "split")
    return {
        "checkpoint": content_hash(read_config(options.checkpoint)),
        "rows": fingerprint(data, ("train", options.split)),
        "batch_size": data.batch_size,
        "version": zoo.__version__,
        **{name: getattr(options, name) for name in asked},
    }


def prepare(
    model: SelfInterpretable, data: DataModule, options: argparse.Namespace
) -> tuple[Measurement, NumberedBatches]:
    """The metrics, and the rows to compute them on."""
    names, imputers = options.metrics.split(","), options.imputers.split(",") if options.imputers else ()
    choose(names)
    model.require_ready()
    data.setup("test" if options.split == "test" else "validate")
    dataset = data.test_dataset() if options.split == "test" else data.val_dataset()
    reference = reference_inputs(data.projection_dataset())
    evaluator = None
    if any(name.lower() in ("m10", EncodingGap.title) for name in names):  # takes minutes, so "all" does not include it
        evaluator = train_evaluator(data, seed=options.seed, progress="evaluator of M10", device=model.device)
    subject: Subject = Subject(model, options.limit_memory * 2**20)
    if options.regions:
        require_regions(model.domain, options.regions)
        subject = InRegions(subject, options.regions)
    if options.control:
        subject = CONTROLS[options.control](subject)
    factors, remove_factor = factors_of(data, options.split)
    with evaluating(model):
        found = Measurement(
            subject,
            reference,
            names,
            imputers,
            seed=options.seed,
            factors=factors,
            remove_factor=remove_factor,
            evaluator=evaluator,
        )
    return found, NumberedBatches(dataset, options.limit, data.batch_size)


def to_dict(result: Result) -> dict[str, Any]:
    """A result as plain data."""
    if result.missing is not None:
        return {"title": result.title, "not applicable": result.missing}
    columns = {
        name: {what: None if v is None else plain(v) for what, v in value._asdict().items()}
        | {"direction": result.directions[name], "undefined": result.undefined[name]}
        for name, value in result.values.items()
    }
    return {"title": result.title, "values": columns, **result.extra}


def table(results: Mapping[str, Result]) -> list[Row]:
    """One row for each number."""
    rows: list[Row] = []
    for key, result in results.items():
        if result.missing is not None:
            rows.append(Row(key, result.title, "", None, 0, 0, result.missing))
        for name, value in result.values.items():
            rows.append(Row(key, result.title, name, value, result.directions[name], result.undefined[name]))
        for name, number in result.extra.items():
            rows.append(Row(key, result.title, name, (number, number, number, None, None), 0, 0))
    return rows


def print_table(rows: list[Row]) -> None:
    """Prints the rows in columns."""
    header = ("", "metric", "", "value", "95 % interval", "chance", "ideal", "undefined")
    cells = [header, *(row.cells() for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        line = [c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        print("  " + "  ".join(line).rstrip())


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Writes plain data to a JSON file; numbers that are undefined become null."""
    write_text(path, to_json(without_nan(record), indent=1) + "\n")
