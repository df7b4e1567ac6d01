"""What users do with prototypes, on part birds of 20 classes: `python -m benchmarks.prototype_operations`.

    masks      a ProtoPNet is trained without and with the loss `fine_annotation`, whose masks are the parts of the bird
               that define its class; the weight is chosen on validation data
    decoys     the same on digits with a patch in a corner whose grey level is the digit, except in the test; the masks
               are the strokes
    fewer      of the ProtoPNet without masks, prototypes are merged (ProtoPShare) or removed: those of the smallest
               weights, of the smallest rise of the loss by the diagonal Fisher information, 1/2 E[(∂loss/∂gate)²], or
               at random; then the head is fitted again, by the same steps for all

Trains `--seeds` runs of 27 epochs for each weight with `train.py fit`, a minute of CPU each; finished parts are kept.
Writes benchmarks/PROTOTYPE_OPERATIONS.md and .json.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from benchmarks.prototype_operations_page import page
from benchmarks.runs import HERE, read, trained
from zoo.data import DecoyDigits, PartBirds
from zoo.data.base.items import Items
from zoo.prototypes import ProtoPNet
from zoo.prototypes.layers.merging import joined, merge_most_similar, squared_differences
from zoo.training.projection_set import ProjectionSet

PARTS = ["beak", "eye", "foot", "tail", "wing"]
SIZES: dict[str, Any] = {"classes": 20, "count": 2000, "val_count": 300, "test_count": 500}
WIDTHS = [16, 32, 64]
CONFIG = "worlds/protopnet_part_birds"
PUBLISHED = {"cluster": 0.05, "separation": 0.005}  # of this config
WEIGHTS = (0.0, 0.001, 0.01)  # of fine_annotation
COUNTS = (60, 40, 30, 20, 10)  # of the 80 prototypes
STEPS, RATE, L1 = 300, 3e-3, 1e-4  # of a refit


class Split(NamedTuple):
    """Activations (N, P) of a trained model and labels (N,)."""

    activation: Tensor
    target: Tensor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of all trainings (default: 0)")
    parser.add_argument("--runs", type=Path, default=Path("runs/prototype_operations"), help="folder of the runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = {"seeds": options.seeds, "masks": [], "decoys": [], "fewer": []}
    data = PartBirds(masks=PARTS, **SIZES)
    for seed in options.seeds:
        for weight in WEIGHTS:
            model = zoo.load(run_of(weight, seed, options.runs) / "checkpoint")
            assert isinstance(model, ProtoPNet)
            kept = partial(found, options.runs / f"found_seed{seed}", seed)
            record["masks"] += kept(f"masks_{weight:g}", partial(marked, model, data, weight))
            record["decoys"] += kept(f"decoys_{weight:g}", partial(decoyed, weight, seed))
            if weight == 0:
                record["fewer"] += kept("fewer", partial(fewer, model, data, seed))
    (HERE / "PROTOTYPE_OPERATIONS.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (HERE / "PROTOTYPE_OPERATIONS.md").write_text(page(record), encoding="utf-8")
    print(page(record))
    return 0


def found(folder: Path, seed: int, name: str, measure: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of one measurement, with the seed; those of a finished one are kept in a file."""
    file = folder / f"{name}.json"
    if not file.is_file():
        print(f"measuring {name}, seed {seed}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(measure()), encoding="utf-8")
    return [{"seed": seed, **row} for row in read(file)]


def run_of(weight: float, seed: int, runs: Path) -> Path:
    """The folder of a run, which is trained if it is missing."""
    changes = {
        **{f"data.init_args.{name}": json.dumps(value) for name, value in {**SIZES, "masks": PARTS}.items()},
        "model.init_args.backbone.widths": json.dumps(WIDTHS),
        "model.init_args.recipe.coefficients": json.dumps({**PUBLISHED, "fine_annotation": weight}),
    }
    folder = runs / f"fine_{weight:g}_seed{seed}"
    return trained(folder, CONFIG, seed, f"fine_annotation {weight:g}, seed {seed}", changes)


def batches(items: Items) -> Iterable[dict[str, Tensor]]:
    """All items in batches of 100."""
    return ProjectionSet(items, batch_size=100)


@torch.no_grad()
def marked(model: ProtoPNet, data: PartBirds, weight: float) -> list[dict[str, float]]:
    """Accuracies, and shares of what lies at marked pixels.

    peak: of the prototypes of the label in test images, those whose strongest cell has marked pixels. mass: share of
    their similarity in such cells. source: of the prototypes, those whose training patch has. chance: such cells.
    """
    right, peak, mass, chance, rows = 0, 0.0, 0.0, 0.0, 0
    for batch in batches(data.test_dataset()):
        distances, _ = model.prototypes.compare(model.embed(batch["input"]), exact=False)
        maps = model.prototypes.similarity.of(distances).clamp_min(0)  # (B, P, h, w)
        seen = F.adaptive_max_pool2d(batch["relevant"][:, None], tuple(maps.shape[2:])).flatten(1)  # (B, hw)
        own = maps.flatten(2)[model.own[batch["target"]]].unflatten(0, (len(seen), -1))  # (B, Q, hw)
        at = seen.gather(1, own.argmax(2))
        right += int((model(batch["input"]).argmax(1) == batch["target"]).sum())
        peak += float(at.mean(1).sum())
        mass += float(((own * seen[:, None]).sum(2) / own.sum(2).clamp_min(1e-9)).mean(1).sum())
        chance, rows = chance + float(seen.mean(1).sum()), rows + len(seen)
    shares = {"accuracy": right / rows, "peak": peak / rows, "mass": mass / rows, "chance": chance / rows}
    shares["val accuracy"] = accuracy(model, data.val_dataset())
    source, train = model.prototypes.provenance, data.projection_dataset()
    masks = [train[int(i)]["relevant"].nan_to_num(0) for i in source.index]
    grid = tuple(model.embed(torch.zeros(1, *model.domain.shape)).shape[2:])
    cells = F.adaptive_max_pool2d(torch.stack(masks)[:, None], grid).flatten(1)
    return [{"weight": weight, **shares, "source": float(cells.gather(1, source.cell[:, None]).mean())}]


def accuracy(model: Callable[[Tensor], Tensor], items: Items) -> float:
    """The share of items whose class has the highest score."""
    hits = [(model(b["input"]).argmax(1) == b["target"]).float() for b in batches(items)]
    return float(torch.cat(hits).mean())


def decoyed(weight: float, seed: int) -> list[dict[str, float]]:
    """Accuracies on digits with decoys, which mislead in the test alone."""
    torch.manual_seed(seed)
    data = DecoyDigits("corner", masks=["digit"], count=2000, test_count=1000)
    stages = (
        {"name": "warm", "epochs": 1, "train": ["addon", "prototypes"]},
        {"name": "joint", "epochs": 8, "train": ["backbone", "addon", "prototypes", "head"], "cosine": True},
        {"name": "push"},
        {"name": "last", "epochs": 2, "train": ["head"]},
    )
    coefficients = {**PUBLISHED, "fine_annotation": weight}
    recipe: Any = {"stages": stages, "lr": 3e-3, "weight_decay": 0.0, "coefficients": coefficients}
    backbone = {"name": "convnet", "widths": [16, 32], "pool": [0, 1]}  # a 7 x 7 map
    model = ProtoPNet(data.domain, backbone, prototypes_per_class=3, dim=32, similarity="cosine", recipe=recipe)
    zoo.fit(model, data, seed=seed, progress=False)
    model.eval()
    with torch.no_grad():
        both = {"val accuracy": accuracy(model, data.val_dataset()), "accuracy": accuracy(model, data.test_dataset())}
    return [{"weight": weight, **both}]


# Fewer prototypes


@torch.no_grad()
def collect(model: ProtoPNet, items: Items) -> Split:
    """The activations of all items, from which every head can be measured."""
    rows = [(model.evidence(batch["input"]).activation, batch["target"]) for batch in batches(items)]
    return Split(*(torch.cat(column) for column in zip(*rows, strict=True)))


def fewer(model: ProtoPNet, data: PartBirds, seed: int) -> list[dict[str, Any]]:
    """Test accuracies with fewer prototypes by each way, as they are and after a refit of the head."""
    train, test = collect(model, data.projection_dataset()), collect(model, data.test_dataset())
    weight = model.head.weight.detach()  # (C, P)
    count = weight.shape[1]
    size, images = weight.norm(dim=0), ProjectionSet(data.projection_dataset(), batch_size=100)
    differences = squared_differences(images, lambda x: model.evidence(x).activation.detach(), count)
    scores = {"smallest weights": size, "Fisher information": fisher(train, weight)}
    scores["random"] = torch.rand(count, generator=torch.Generator().manual_seed(seed))
    rows = [measured("all", count, weight, model.own, train, test)]
    for left in COUNTS:
        into = merge_most_similar(differences, size, torch.ones(count, dtype=torch.bool), left)
        own = joined(model.own.int(), into).bool()
        rows.append(measured("merged", left, joined(weight, into), own, train, test))
        for way, score in scores.items():
            kept = torch.zeros(count).index_fill(0, score.topk(left).indices, 1)
            rows.append(measured(way, left, weight * kept, model.own, train, test))
    return rows


def fisher(train: Split, weight: Tensor) -> Tensor:
    """(P,) 1/2 E[(∂loss/∂gate_j)²] of gates that multiply activations: (a_j Σ_c W[c, j] (p_c - y_c))²."""
    surplus = (train.activation @ weight.T).softmax(1) - F.one_hot(train.target, len(weight))
    return 0.5 * (train.activation * (surplus @ weight)).square().mean(0)


def measured(way: str, left: int, weight: Tensor, own: Tensor, train: Split, test: Split) -> dict[str, Any]:
    """Test accuracies of a head (C, P), as it is and after a refit; columns of zeros are removed prototypes."""
    alive = weight.abs().sum(0) > 0
    fitted = weight.clone().requires_grad_()
    optimizer = torch.optim.Adam([fitted], RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy((train.activation * alive) @ fitted.T, train.target)
        (loss + L1 * (fitted * alive).masked_fill(own, 0).abs().sum()).backward()
        optimizer.step()
    heads = {"as it is": weight, "refitted": fitted.detach()}
    hits = {
        name: float((((test.activation * alive) @ head.T).argmax(1) == test.target).float().mean())
        for name, head in heads.items()
    }
    return {"way": way, "prototypes": left, **hits}


if __name__ == "__main__":
    sys.exit(main())
