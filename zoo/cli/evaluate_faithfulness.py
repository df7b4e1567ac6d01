"""`train.py evaluate --metrics`: whether a checkpoint's explanations are true, as a table, a file and a figure."""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

import zoo
from zoo.core.module import SelfInterpretable
from zoo.metrics.concepts.report import plain
from zoo.metrics.faithfulness import CONTROLS, EncodingGap, Subject, train_evaluator
from zoo.metrics.faithfulness.error_control import RemoveFactor
from zoo.metrics.faithfulness.streams import uniform
from zoo.metrics.faithfulness.suite import Result, choose, measure
from zoo.training.batch import as_batch
from zoo.training.modes import evaluating
from zoo.views.faithfulness import Row, faithfulness_page, faithfulness_svg

REFERENCE = 256  # training inputs that means, draws and covariances come from


def report_truth(model: SelfInterpretable, data: Any, options: argparse.Namespace) -> None:
    """Writes truth.json, truth.svg and truth.html; prints the table.

    Raises:
        ValueError: an unknown metric or imputer, or a control that does not fit the model.
    """
    start = time.perf_counter()
    names, imputers = options.metrics.split(","), options.imputers.split(",") if options.imputers else ()
    choose(names)
    model.require_ready()
    data.prepare_data()
    data.setup("test" if options.split == "test" else "validate")
    dataset = data.test_dataset() if options.split == "test" else data.val_dataset()
    reference = spread_inputs(data.projection_dataset(), REFERENCE)
    evaluator = None
    if any(name.lower() in ("m10", EncodingGap.title) for name in names):  # minutes, so not as one of "all"
        evaluator = train_evaluator(data, seed=options.seed, progress="evaluator of M10", device=model.device)
    subject: Subject = Subject(model, options.limit_memory * 2**20)
    if options.control:
        subject = CONTROLS[options.control](subject)
    with evaluating(model):
        batches = Numbered(dataset, options.limit, data.batch_size)
        world = world_of(data, options.split)
        results = measure(subject, batches, reference, names, imputers, options.seed, True, *world, evaluator)
    seconds = time.perf_counter() - start
    record = {
        "checkpoint": str(options.checkpoint),
        "model": zoo.core.registry.name_of(type(model)),
        "control": options.control,
        "split": options.split,
        "rows": len(batches.rows),
        "seed": options.seed,
        "metrics": {key: to_dict(result) for key, result in results.items()},
        "seconds": round(seconds, 2),
    }
    write_json(options.output / "truth.json", record)
    lines = table(results)
    what = f"{options.control} of {record['model']}" if options.control else record["model"]
    about = f"{what} · {len(batches.rows):,} {options.split} rows · 95 % intervals over rows"
    drawing = faithfulness_svg(lines)
    (options.output / "truth.svg").write_text(drawing, encoding="utf-8")
    (options.output / "truth.html").write_text(faithfulness_page(about, drawing, lines), encoding="utf-8")
    print(about)
    print_table(lines)
    print(f"figure {options.output / 'truth.html'} · numbers {options.output / 'truth.json'} · {seconds:.1f} s")


def spread_inputs(dataset: Dataset, count: int) -> Tensor:
    """(M, *shape) inputs at equal distances through a data set, at most so many."""
    size = len(dataset)  # pyright: ignore[reportArgumentType]
    rows = torch.linspace(0, size - 1, min(count, size)).long().unique().tolist()
    return torch.stack([as_batch(dataset[i])["input"] for i in rows])


def world_of(data: Any, split: str) -> tuple[tuple[str, ...], RemoveFactor | None]:
    """The factors of a world, and how its inputs are drawn again without one; nothing of other data."""
    if not hasattr(data, "interventions"):
        return (), None
    return tuple(data.factors), lambda ids, factor: data.interventions(split, ids.tolist(), [factor])


class Numbered:
    """Batches with the "ids" of their rows: of all rows, or of `limit` rows drawn without regard to anything."""

    def __init__(self, dataset: Dataset, limit: int | None, batch_size: int) -> None:
        size = len(dataset)  # pyright: ignore[reportArgumentType]
        self.rows = torch.arange(size)
        if limit is not None and limit < size:
            self.rows = uniform(torch.zeros(1, dtype=torch.long), size, 0, "rows")[0].argsort()[:limit].sort().values
        self.loader = DataLoader(Subset(dataset, self.rows.tolist()), batch_size)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        at = 0
        for batch in map(as_batch, self.loader):
            count = len(batch["input"])
            yield batch | {"ids": self.rows[at : at + count]}
            at += count


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
    """The rows in columns."""
    header = ("", "metric", "", "value", "95 % interval", "chance", "ideal", "undefined")
    cells = [header, *(row.cells() for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        line = [c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        print("  " + "  ".join(line).rstrip())


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Writes plain data."""
    path.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
