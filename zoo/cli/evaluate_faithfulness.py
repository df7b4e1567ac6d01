"""`train.py evaluate --metrics`: how faithful the explanations of a checkpoint are to the model."""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.core import registry
from zoo.core.module import SelfInterpretable
from zoo.data.base.module import DataModule
from zoo.metrics.concepts.report import plain
from zoo.metrics.faithfulness import CONTROLS, EncodingGap, Subject, train_evaluator
from zoo.metrics.faithfulness.rows import NumberedBatches, factors_of, reference_inputs
from zoo.metrics.faithfulness.suite import Result, choose, measure
from zoo.training.modes import evaluating
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json, without_nan
from zoo.views.faithfulness import Row, faithfulness_page, faithfulness_svg

REPORT = "faithfulness"  # name of the report's files


def report_faithfulness(model: SelfInterpretable, data: DataModule, options: argparse.Namespace) -> None:
    """Writes faithfulness.json, .svg and .html; prints the table.

    Raises:
        ValueError: an unknown metric or imputer, or a control that does not fit the model.
    """
    start = time.perf_counter()
    results, rows = results_of(model, data, options)
    record = {
        "checkpoint": str(options.checkpoint),
        "model": registry.name_of(type(model)),
        "control": options.control,
        "split": options.split,
        "rows": rows,
        "seed": options.seed,
        "metrics": {key: to_dict(result) for key, result in results.items()},
        "seconds": round(time.perf_counter() - start, 2),
    }
    stem = options.output / REPORT
    write_json(stem.with_suffix(".json"), record)
    lines = table(results)
    what = f"{options.control} of {record['model']}" if options.control else record["model"]
    about = f"{what} · {rows:,} {options.split} rows · 95 % intervals over rows"
    drawing = faithfulness_svg(lines)
    write_text(stem.with_suffix(".svg"), drawing)
    write_text(stem.with_suffix(".html"), faithfulness_page(about, drawing, lines))
    print(about)
    print_table(lines)
    print(f"figure {stem.with_suffix('.html')} · numbers {stem.with_suffix('.json')} · {record['seconds']:.1f} s")


def results_of(
    model: SelfInterpretable, data: DataModule, options: argparse.Namespace
) -> tuple[dict[str, Result], int]:
    """The results by key of the metric, and the number of rows."""
    names, imputers = options.metrics.split(","), options.imputers.split(",") if options.imputers else ()
    choose(names)
    model.require_ready()
    data.prepare_data()
    data.setup("test" if options.split == "test" else "validate")
    dataset = data.test_dataset() if options.split == "test" else data.val_dataset()
    reference = reference_inputs(data.projection_dataset())
    evaluator = None
    if any(name.lower() in ("m10", EncodingGap.title) for name in names):  # takes minutes, so "all" does not include it
        evaluator = train_evaluator(data, seed=options.seed, progress="evaluator of M10", device=model.device)
    subject: Subject = Subject(model, options.limit_memory * 2**20)
    if options.control:
        subject = CONTROLS[options.control](subject)
    batches = NumberedBatches(dataset, options.limit, data.batch_size)
    factors, remove_factor = factors_of(data, options.split)
    with evaluating(model):
        results = measure(
            subject,
            batches,
            reference,
            names,
            imputers,
            seed=options.seed,
            progress=True,
            factors=factors,
            remove_factor=remove_factor,
            evaluator=evaluator,
        )
    return results, len(batches.rows)


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
