"""Is what a concept is recognised by in its box? `python -m benchmarks.grounding`.

Concept bottlenecks with 5 effective concepts for each class on drawn birds, whose concepts are learned from labels of
the class, from labels of what is visible, and from these with crops to the boxes of concepts (VLG-CBM). Finished
measurements are kept, so an interrupted command resumes. Writes benchmarks/GROUNDING.md and .json. A minute of CPU time
for each bottleneck.
"""

import argparse
import sys
from typing import Any

import torch
from lightning import seed_everything
from torch import Tensor
from torch.nn import functional as F

from benchmarks.cub_concepts import trained
from benchmarks.graphs_page import spread
from benchmarks.runs import Record
from zoo.concepts import CBM
from zoo.data import PartBirds
from zoo.data.base.images import Pictures
from zoo.data.synthetic.bird_shapes import CARDINALITIES, PARTS
from zoo.metrics.concepts.sparsity import sparsity_report
from zoo.utils.functional import area_under_roc

NEC = 5
EPOCHS = 12
SIZE = {"count": 3000, "val_count": 100, "test_count": 500}
LABELS = {  # options of the data
    "class": {"missing": "absent"},
    "visible": {"missing": "absent"},
    "visible, crops": {"missing": "absent", "concept_crops": 0.5},
    "visible, wide crops": {"missing": "absent", "concept_crops": 0.5, "smallest_crop": 0.35},
}
STAGES = [
    {"name": "concepts", "epochs": EPOCHS, "train": ["backbone", "concepts"], "decay_every": 6, "decay": 0.3},
    {"name": "sparsify", "per_class": NEC},
    {"name": "measure", "epochs": 1, "train": []},
]
COLUMNS = {
    "accuracy": "accuracy",
    "random": "random concepts",
    "auc": "concept AUC",
    "pointing": "pointing",
    "chance": "by chance",
    "inside": "evidence in the box",
    "own": "own part",
}
ABOUT = f"""Part birds, {SIZE["count"]:,} training pictures, {EPOCHS} epochs. *accuracy*: of a CBM of concept logits
with {NEC} effective concepts for each class (NEC {NEC}), in %, beside that of as many random directions in the same
features. *labels*: "class", the concepts of the class in every picture; "visible", only where the concept's part is;
"crops", half of the training pictures cropped to the box of a concept, exactly or ("wide") to a third of the sides at
least. The logit of a concept is a mean over the cells of the feature map, so where its evidence lies is known exactly.
*pointing*: share of the present concepts whose strongest cell touches the box of their part, and what a random cell
would reach. *evidence in the box*: share of the positive evidence. *own part*: share of the changes of a present
concept's logit that is due to its own part, when each part and the background are removed in turn. Means over seeds,
with standard deviations where there are several."""


class ClassLabels(PartBirds):
    """Part birds whose training pictures have the concepts of their class, visible or not."""

    def pictures(self, split: str, augment: str) -> Pictures:
        found = super().pictures(split, augment)
        if split == "train":
            parts = self.class_parts[found.targets]
            each = [F.one_hot(p, n) for p, n in zip(parts.T, CARDINALITIES, strict=True)]
            found.concepts = torch.cat(each, 1).float()
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", nargs="+", choices=LABELS, default=list(LABELS), metavar="LABELS")
    options = parser.parse_args()
    record = Record("GROUNDING", page)
    for seed in range(options.seeds):
        for labels in options.labels:
            record.keep(f"birds, {labels}, seed {seed}", on_birds, labels, seed)
    return 0


def fitted(data: Any, backbone: Any, stages: list, lr: Any, seed: int) -> tuple[CBM, dict[str, float]]:
    """A trained bottleneck, and its accuracy on the test set."""
    seed_everything(seed, verbose=False)
    recipe: Any = {"stages": stages, "lr": lr}
    model = CBM(data.domain, backbone, bottleneck="logit", training="sequential", recipe=recipe)
    found = trained(model, data)
    return model.eval(), {"accuracy": found["test/accuracy"], "seconds": found["seconds"]}


def on_birds(labels: str, seed: int) -> dict[str, float]:
    """Trains and measures one bottleneck on drawn birds."""
    data = (ClassLabels if labels == "class" else PartBirds)(seed=seed, **SIZE, **LABELS[labels])
    backbone = {"name": "convnet", "widths": [16, 32, 64], "strided": True}
    model, found = fitted(data, backbone, STAGES, {"backbone": 3e-3, "concepts": 3e-3, "head": 1e-2}, seed)
    with torch.no_grad():
        return found | random_control(model, data) | measured_on_birds(model, data)


def random_control(model: CBM, data: Any) -> dict[str, float]:
    """Accuracy of as many random directions at the same number of effective concepts."""
    rows = [[], []]
    for part, items in zip(rows, (data.projection_dataset(), data.test_dataset()), strict=True):
        for chunk in torch.arange(len(items)).split(250):
            part.append(model.backbone(torch.stack([items[i]["input"] for i in chunk.tolist()])))
    seen = torch.cat(rows[0]), torch.cat(rows[1])
    concepts = model.concepts(seen[0]), model.concepts(seen[1])
    targets = data.projection_dataset().targets, data.test_dataset().targets
    level = sparsity_report(concepts, seen, targets, len(model.domain.classes), [NEC], seed=data.seed)[0]
    return {"random": float("nan") if level.random is None else level.random}


def measured_on_birds(model: CBM, data: PartBirds) -> dict[str, float]:
    """Where the evidence of present concepts is, and what removals change."""
    items, boxes = data.test_dataset(), data.concept_boxes("test")
    rows = list(range(len(items)))
    assert isinstance(items, Pictures) and items.concepts is not None
    part_of = torch.arange(len(PARTS)).repeat_interleave(torch.tensor(CARDINALITIES))  # (k,)
    logits, maps = [], []
    for chunk in torch.arange(len(items)).split(250):
        cells = model.backbone.backbone(data.interventions("test", chunk.tolist(), ()))
        maps.append(torch.einsum("bdhw,kd->bkhw", cells, model.concepts.weight))
        logits.append(model.concepts(cells.mean((2, 3))))
    whole, present = torch.cat(logits), items.concepts == 1
    change = []
    for factor in (*PARTS, "background"):
        parts = (data.interventions("test", part, (factor,)) for part in torch.tensor(rows).split(250))
        without = torch.cat([model.concepts(model.backbone(x)) for x in parts])
        change.append((whole - without).abs())
    changes = torch.stack(change, 2)  # (N, k, 6)
    own = changes.gather(2, part_of.view(1, -1, 1).expand(len(rows), -1, 1))[..., 0] / changes.sum(2).clamp_min(1e-12)
    found = localised(torch.cat(maps), boxes / data.side, present)
    return found | {
        "auc": area_under_roc(whole, items.concepts).nanmean().item(),
        "own": own[present].mean().item(),
    }


def localised(maps: Tensor, boxes: Tensor, present: Tensor) -> dict[str, float]:
    """How much of the evidence (N, k, h, w) of present concepts lies in boxes (N, k, 4), shares of the picture."""
    height, width = maps.shape[2:]
    known = present & boxes.isfinite().all(2)
    maps, boxes = maps[known], boxes[known]  # (n, h, w), (n, 4)
    across = overlap(boxes[:, 0], boxes[:, 2], width)[:, None]
    inside = overlap(boxes[:, 1], boxes[:, 3], height)[:, :, None] * across > 0  # cells that touch the box
    strongest = maps.flatten(1).argmax(1, keepdim=True)
    positive = maps.clamp_min(0)
    shares = (positive * inside).sum((1, 2)) / positive.sum((1, 2)).clamp_min(1e-12)
    return {
        "pointing": inside.flatten(1).gather(1, strongest).float().mean().item(),
        "chance": inside.float().mean().item(),
        "inside": shares.mean().item(),
    }


def overlap(start: Tensor, size: Tensor, cells: int) -> Tensor:
    """(n, cells) how much of each cell of [0, 1] an interval covers."""
    low = torch.arange(cells) / cells
    upper = torch.minimum((start + size)[:, None], low + 1 / cells)
    return (upper - torch.maximum(start[:, None], low)).clamp_min(0) * cells


def page(record: dict[str, dict[str, float]]) -> str:
    """The Markdown page of measurements by "birds, labels, seed N"."""
    lines = [f"| labels | seeds | {' | '.join(COLUMNS.values())} |", "|---|---:|" + "---:|" * len(COLUMNS)]
    for name in LABELS:
        if runs := [run for key, run in record.items() if key.startswith(f"birds, {name}, seed")]:
            cells = [spread([run[key] for run in runs], 100) for key in COLUMNS]
            lines.append(f"| {name} | {len(runs)} | {' | '.join(cells)} |")
    parts = ["# Concepts grounded in boxes", ABOUT, "\n".join(lines), "Created by `python -m benchmarks.grounding`."]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
