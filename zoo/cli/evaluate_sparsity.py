"""`train.py evaluate --sparsity`: accuracy at few effective concepts, beside a random bottleneck of the same size."""

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from zoo.core.module import SelfInterpretable
from zoo.metrics.concepts.sparsity import covering_concepts, effective_concepts, sparsity_report
from zoo.training.batch import as_batch
from zoo.training.modes import evaluating


def report_sparsity(model: SelfInterpretable, data: Any, options: argparse.Namespace) -> None:
    """Writes sparsity.json and prints the table.

    Raises:
        ValueError: a model whose concepts are not read off one vector by a linear layer.
    """
    head = getattr(model, "head", None)
    linear = isinstance(head, torch.nn.Linear) and head.weight.shape[1] <= len(model.units())
    if not (linear and hasattr(model, "backbone") and hasattr(model, "concepts")):
        raise ValueError(
            f"--sparsity needs a linear head on concepts that are numbers; {type(model).__name__} has none."
        )
    numbers = options.sparsity.split(",")
    if not all(n.strip().isdigit() and int(n) >= 1 for n in numbers):
        raise ValueError(f"--sparsity needs whole numbers of concepts from 1, such as 5,10; got {options.sparsity}.")
    levels = [int(n) for n in numbers]
    data.prepare_data()
    loaders = (
        torch.utils.data.DataLoader(data.projection_dataset(), data.batch_size),
        data.val_dataloader() if options.split == "val" else data.test_dataloader(),
    )
    parts = [_collected(model, batches) for batches in loaders]
    features, concepts, targets = (tuple(part[i] for part in parts) for i in range(3))
    classes = len(model.domain.classes)
    table = sparsity_report(concepts, features, targets, classes, levels, seed=options.seed, progress=True)
    record = {
        "checkpoint": str(options.checkpoint),
        "split": options.split,
        "concepts": concepts[0].shape[1],
        "nec": effective_concepts(model.head.weight),
        "ncc": covering_concepts(concepts[1], model.head.weight),
        "levels": [asdict(level) for level in table],
    }
    (options.output / "sparsity.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(
        f"{record['concepts']} concepts; the head has {record['nec']:.1f} effective concepts a class (NEC), of which "
        f"{record['ncc']:.1f} make up 95 % of a contribution (NCC)"
    )
    print("  effective concepts   accuracy   random concepts")
    for level in table:
        cells = ("-" if v is None else f"{100 * v:.1f} %" for v in (level.accuracy, level.random))
        print("  {:>18}   {:>8}   {:>15}".format(level.concepts, *cells))
    print(f"numbers {options.output / 'sparsity.json'}")


@torch.no_grad()
def _collected(model: SelfInterpretable, batches: Iterable[Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N, d), concept scores (N, k) and classes (N,)."""
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    with evaluating(model):
        for batch in map(as_batch, batches):
            x = batch["input"].to(model.device)
            evidence = model.evidence(x)
            count = model.head.weight.shape[1]
            rows.append((model.backbone(x).cpu(), evidence.activation[:, :count].cpu(), batch["target"].cpu()))
    features, concepts, targets = (torch.cat(column) for column in zip(*rows, strict=True))
    return features, concepts, targets
