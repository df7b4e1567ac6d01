"""Codes that learn from behaviour beside sparse autoencoders of the same size: `python -m benchmarks.predictive`.

The subject is the black box of part birds, whose run is given or trained. Each code is measured on test pictures that
it has not seen, by how well a linear decoder, fitted anew, tells the black box's answers from it. The answers are to
the questions that the code learned from, and to others: blocks that are blurred. Writes PREDICTIVE.json and .md.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

import zoo
from zoo.data import PartBirds
from zoo.metrics.faithfulness import Case, Predictivity, Subject, imputers_for
from zoo.metrics.faithfulness.rows import NumberedBatches, reference_inputs
from zoo.training.black_box_file import Network, load_network
from zoo.utils.atomic import write_text

HERE = Path(__file__).parent
ATOMS, ACTIVE = 256, 16
BACKBONE = {"name": "convnet", "widths": [32, 64, 128], "strided": True}
QUESTIONS = {"mean": "learned (block at its mean)", "blur": "other (block blurred)"}


class OfBlackBox(Subject):
    """The explanations of a model, and the scores of the black box whose answers they are to tell."""

    def __init__(self, model: Any, network: Network) -> None:
        super().__init__(model)
        self.network = network.eval()

    @torch.no_grad()
    def scores(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.network(part) for part in x.split(self.rows)])


def trained(kind: str, run: Path, data: PartBirds, epochs: int, seed: int) -> Any:
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
        backbone=BACKBONE,
        code={"kind": "topk", "atoms": ATOMS, "active": ACTIVE},
        recipe={"stages": stages, "lr": 0.003, "teacher": teacher},
        **options,
    )
    zoo.fit(model, data, seed=seed, accelerator="cpu", progress=True)
    return model.eval()


def measured(model: Any, network: Network, data: PartBirds, rows: int) -> dict[str, Any]:
    """Predictivity by kind of question, and how often model and black box predict the same class."""
    reference = reference_inputs(data.projection_dataset())
    metrics = {name: Predictivity(imputers_for(model.domain, reference, (name,))) for name in QUESTIONS}
    subject, same, total = OfBlackBox(model, network), 0, 0
    for batch in NumberedBatches(data.test_dataset(), rows, 50):
        case = Case(subject, batch["input"], batch["ids"])
        for metric in metrics.values():
            metric.update(case)
        same += int((case.explanation.scores.argmax(1) == network(batch["input"]).argmax(1)).sum())
        total += len(batch["input"])
    found: dict[str, Any] = {"agreement": same / total, "units": len(model.units())}
    for name, metric in metrics.items():
        value, low, high = metric.intervals()["units"][:3]
        found[name] = {"units": float(value), "low": float(low), "high": float(high)}
    return found


def page(record: dict[str, Any]) -> str:
    """The table of the record as Markdown."""
    names = {
        "behaviour": "PredictiveCodes",
        "reconstruction": "the same, learned from reconstruction (SAE of the blocks)",
        "cells": "SparseCode (SAE of the cells)",
    }
    lines = [
        "# Predictive codes",
        "",
        "Made by `python -m benchmarks.predictive`; do not edit.",
        "",
        f"Part birds, {record['rows']} test pictures. M15: share of the variance of the black box's answers that a "
        "linear decoder tells from the activations, each picture by the decoder of the others; 95 % intervals over "
        f"pictures. All codes have {ATOMS} atoms, at most {ACTIVE} active (SparseCode: of each cell), and "
        f"{record['epochs']} epochs.",
        "",
        f"| code | {' | '.join(QUESTIONS.values())} | agreement of predictions |",
        "|---|---|---|---|",
    ]
    for kind, name in names.items():
        found = record["codes"][kind]
        cells = [f"{v['units']:.3f} ({v['low']:.3f} to {v['high']:.3f})" for v in (found[q] for q in QUESTIONS)]
        lines.append(f"| {name} | {' | '.join(cells)} | {found['agreement']:.1%} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/blackbox_part_birds"), help="of the black box")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE)
    options = parser.parse_args()
    data = PartBirds()
    data.prepare_data()
    data.setup("test")
    network = load_network(options.run / "black_box.safetensors")
    record: dict[str, Any] = {"epochs": options.epochs, "rows": options.rows, "seed": options.seed, "codes": {}}
    with torch.no_grad():
        for kind in ("behaviour", "reconstruction", "cells"):
            with torch.enable_grad():
                model = trained(kind, options.run, data, options.epochs, options.seed)
            record["codes"][kind] = measured(model, network, data, options.rows)
            print(kind, record["codes"][kind], flush=True)
    write_text(options.output / "PREDICTIVE.json", json.dumps(record, indent=1) + "\n")
    write_text(options.output / "PREDICTIVE.md", page(record))


if __name__ == "__main__":
    main()
