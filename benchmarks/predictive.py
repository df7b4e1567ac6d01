"""Codes that learn from behaviour beside sparse autoencoders of the same size: `python -m benchmarks.predictive`.

The subject is a trained black box. Each code is measured on test data that it has not seen, by how well a linear
decoder, fitted anew, tells the black box's answers from it (M15). The answers are to the questions that the code
learned from, and to others: parts that are drawn from another row, or blurred. The decoder that was trained with a
code is measured too. Writes PREDICTIVE.json and .md.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

import zoo
from zoo.data import ConceptToy, PartBirds
from zoo.data.base.module import DataModule
from zoo.metrics.faithfulness import Case, Predictivity, Subject, imputers_for
from zoo.metrics.faithfulness.rows import NumberedBatches, reference_inputs
from zoo.training.black_box_file import FILE, Network, load_network
from zoo.utils.atomic import write_text

HERE = Path(__file__).parent


class World(NamedTuple):
    """Data with a black box.

    Attributes:
        title: of the data.
        data: makes them.
        backbone: of the black box.
        atoms: of a code.
        active: atoms of a code that are active at most.
        questions: imputer -> what is asked with it; the first is what PredictiveCodes learns from.
    """

    title: str
    data: Callable[[], DataModule]
    backbone: dict[str, Any]
    atoms: int
    active: int
    questions: dict[str, str]


WORLDS = {
    "trig": World(
        "Trigonometry",
        lambda: ConceptToy("trig"),
        {"name": "mlp", "widths": [128, 128]},
        64,
        8,
        {"mean": "learned (column at its mean)", "marginal": "other (column of another row)"},
    ),
    "part_birds": World(
        "Part birds",
        PartBirds,
        {"name": "convnet", "widths": [32, 64, 128], "strided": True},
        256,
        16,
        {"mean": "learned (block at its mean)", "blur": "other (block blurred)"},
    ),
}


class OfBlackBox(Subject):
    """The explanations of a model, and the scores of the black box whose answers they are to tell."""

    def __init__(self, model: Any, network: Network) -> None:
        super().__init__(model)
        self.network = network.eval()

    @torch.no_grad()
    def scores(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.network(part) for part in x.split(self.rows)])


def trained(kind: str, world: World, run: Path, data: DataModule, epochs: int, seed: int) -> Any:
    """A model of a kind: "behaviour", "reconstruction", or "cells", the sparse code of each cell."""
    teacher = {"run": str(run), "start": True, "weight": 0.0}
    cells = kind == "cells"
    groups = ["code"] if cells else ["code", "decoder"]
    stages = [
        {"name": "centre"},
        {"name": "code", "epochs": epochs, "train": groups, "cosine": True},
        {"name": "measure", "epochs": 1, "train": []},
    ]
    options: dict[str, Any] = {"head": "explaining"} if cells else {"learn_from": kind}
    torch.manual_seed(seed)
    model = zoo.create_model(
        "sparse_code" if cells else "predictive_codes",
        domain=data.domain,
        backbone=world.backbone,
        code={"kind": "topk", "atoms": world.atoms, "active": world.active},
        recipe={"stages": stages, "lr": 0.003, "teacher": teacher},
        **options,
    )
    model.own = zoo.fit(model, data, seed=seed, test=True, accelerator="cpu").get("test/answers_r2")
    return model.eval()


def measured(model: Any, network: Network, world: World, data: DataModule, rows: int) -> dict[str, Any]:
    """Predictivity by kind of question, and how often model and black box predict the same class."""
    reference = reference_inputs(data.projection_dataset())
    metrics = {name: Predictivity(imputers_for(model.domain, reference, (name,))) for name in world.questions}
    subject, same, total = OfBlackBox(model, network), 0, 0
    for batch in NumberedBatches(data.test_dataset(), rows, 50):
        case = Case(subject, batch["input"], batch["ids"])
        for metric in metrics.values():
            metric.update(case)
        same += int((case.explanation.scores.argmax(1) == network(batch["input"]).argmax(1)).sum())
        total += len(batch["input"])
    found: dict[str, Any] = {"agreement": same / total, "units": len(model.units()), "own decoder": model.own}
    for name, metric in metrics.items():
        value, low, high = metric.intervals()["units"][:3]
        found[name] = {"units": float(value), "low": float(low), "high": float(high)}
    return found


def page(record: dict[str, Any]) -> str:
    """The table of the record as Markdown."""
    world = WORLDS[record["world"]]
    names = {
        "behaviour": "PredictiveCodes",
        "reconstruction": "the same, learned from reconstruction (SAE of all parts)",
        "cells": "SparseCode (SAE of each cell, or of the vector)",
    }
    lines = [
        "# Predictive codes",
        "",
        "Made by `python -m benchmarks.predictive`; do not edit.",
        "",
        f"{world.title}, {record['rows']} test rows. M15 is the share of the variance of the black box's answers that "
        "a linear decoder predicts from the activations. The answers of each row are predicted by a decoder fitted to "
        f"the other rows; in brackets are 95 % intervals over rows. All codes have {world.atoms} atoms, at most "
        f"{world.active} of them active (SparseCode: in each cell), and are trained for {record['epochs']} epochs.",
        "",
        f"| code | {' | '.join(world.questions.values())} | learned, by its own decoder | agreement |",
        "|---|---|---|---|---|",
    ]
    for kind, name in names.items():
        found = record["codes"][kind]
        cells = [f"{v['units']:.3f} ({v['low']:.3f} to {v['high']:.3f})" for v in (found[q] for q in world.questions)]
        own = "n/a" if found["own decoder"] is None else f"{found['own decoder']:.3f}"
        lines.append(f"| {name} | {' | '.join(cells)} | {own} | {found['agreement']:.1%} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", choices=WORLDS, default="trig")
    parser.add_argument("--run", type=Path, help="of the black box; default: runs/blackbox_WORLD")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE)
    options = parser.parse_args()
    world = WORLDS[options.world]
    data, run = world.data(), options.run or Path(f"runs/blackbox_{options.world}")
    data.prepare_data()
    data.setup("test")
    network = load_network(run / FILE)
    record: dict[str, Any] = {"world": options.world, "epochs": options.epochs, "seed": options.seed, "codes": {}}
    record["rows"] = min(options.rows, len(data.test_dataset()))  # pyright: ignore
    with torch.no_grad():
        for kind in ("behaviour", "reconstruction", "cells"):
            with torch.enable_grad():
                model = trained(kind, world, run, data, options.epochs, options.seed)
            record["codes"][kind] = measured(model, network, world, data, options.rows)
            print(kind, record["codes"][kind], flush=True)
    write_text(options.output / "PREDICTIVE.json", json.dumps(record, indent=1) + "\n")
    write_text(options.output / "PREDICTIVE.md", page(record))


if __name__ == "__main__":
    main()
