"""`train.py evaluate --sparsity`: accuracy with few effective concepts, next to random concepts of the same number."""

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from zoo.cli.checkpoint_data import loader_of
from zoo.core.module import SelfInterpretable
from zoo.data.base.module import DataModule
from zoo.metrics.concepts.sparsity import covering_concepts, effective_concepts, sparsity_report
from zoo.training.batch import as_batch
from zoo.training.modes import evaluating
from zoo.utils.atomic import write_text
from zoo.utils.collate import collate
from zoo.utils.json_text import to_json, without_nan


def report_sparsity(model: SelfInterpretable, data: DataModule, options: argparse.Namespace) -> None:
    """Writes sparsity.json and prints the table.

    Raises:
        ValueError: the model has no linear head on concept scores of one feature vector.
    """
    head, backbone = getattr(model, "head", None), getattr(model, "backbone", None)
    if not (
        isinstance(head, nn.Linear)
        and head.weight.shape[1] <= len(model.units())
        and isinstance(backbone, nn.Module)
        and hasattr(model, "concepts")
    ):
        raise ValueError(f"--sparsity requires a linear head on concept scores; {type(model).__name__} has none.")
    numbers = options.sparsity.split(",")
    if not all(n.strip().isdigit() and int(n) >= 1 for n in numbers):
        raise ValueError(f"--sparsity must be positive integers, such as 5,10; got {options.sparsity}.")
    evaluated = loader_of(data, options.split)
    size = head.weight.shape[1]
    train = collect(model, backbone, size, DataLoader(data.projection_dataset(), data.batch_size, collate_fn=collate))
    test = collect(model, backbone, size, evaluated)
    levels = sparsity_report(
        (train.concepts, test.concepts),
        (train.features, test.features),
        (train.targets, test.targets),
        len(model.domain.classes),
        [int(n) for n in numbers],
        seed=options.seed,
        progress=True,
    )
    record: dict[str, Any] = {
        "checkpoint": str(options.checkpoint),
        "split": options.split,
        "concepts": test.concepts.shape[1],
        "nec": effective_concepts(head.weight),
        "ncc": covering_concepts(test.concepts, head.weight),
        "levels": [asdict(level) for level in levels],
    }
    write_text(options.output / "sparsity.json", to_json(without_nan(record), indent=1) + "\n")
    print(
        f"{record['concepts']} concepts; {record['nec']:.1f} effective concepts a class (NEC), of which "
        f"{record['ncc']:.1f} make up 95 % of a contribution (NCC)"
    )
    print("  effective concepts   accuracy   random concepts")
    for level in levels:
        cells = ("-" if v is None else f"{100 * v:.1f} %" for v in (level.accuracy, level.random))
        print("  {:>18}   {:>8}   {:>15}".format(level.concepts, *cells))
    print(f"numbers {options.output / 'sparsity.json'}")


class Collected(NamedTuple):
    """Features (N, d), concept scores (N, k) and classes (N,) of a data set."""

    features: Tensor
    concepts: Tensor
    targets: Tensor


@torch.no_grad()
def collect(model: SelfInterpretable, backbone: nn.Module, count: int, batches: Iterable[Any]) -> Collected:
    """Features, the first `count` concept scores, and classes of all batches."""
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    with evaluating(model):
        for batch in map(as_batch, batches):
            x = batch["input"].to(model.device)
            evidence = model.evidence(x)
            rows.append((backbone(x).cpu(), evidence.activation[:, :count].cpu(), batch["target"].cpu()))
    return Collected(*(torch.cat(column) for column in zip(*rows, strict=True)))
