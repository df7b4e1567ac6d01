"""Compares prototype models on the first 50 classes of CUB-200-2011: `python -m benchmarks.prototype_quality`.

Models are the runs in `--runs`, or else the shipped checkpoints (one frozen MobileNetV2 for all); with `--train`,
models without either are trained, otherwise the page names them. Reads the test accuracy of each, and measures
explanations of the label on the first `--images` of a fixed shuffle of the test images (box crops, so that the object
fills the image):

    per image, in all  number of units that hold 95 % of the absolute contributions (in a tree: units on the path), in
                       an image and in any image
    consistency        percentage of prototypes whose peak lies near the same part in 80 % of the images in which the
                       prototype is among these units; only prototypes with five or more such images count
    stability          percentage of these pairs that keep their parts under noise of 0.2 on pixels normalised as for
                       ImageNet, which is 4.5 % of the range of pixels
    purity             fraction of the ten best patches of a prototype that show the same part
    PLC, PAC, PRC      change of location, activation (percent) and rank of the strongest prototype under noise of 0.5,
                       likewise, outside of its box and ten pixels around it

See `zoo.metrics` for sources and differences from them. Writes benchmarks/PROTOTYPES_CUB50.md and .json.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

import zoo
from benchmarks.parts_accuracy import run
from zoo.checkpoints.config_file import ABOUT, read_config
from zoo.checkpoints.pretrained import find
from zoo.core.explanation import Explanation
from zoo.data import CUB
from zoo.domain import ImageDomain
from zoo.metrics import ExplanationSize, PartConsistency, PartPurity, PartStability, SpatialMisalignment
from zoo.metrics.prototypes.misalignment import noise_outside, outside_of_box
from zoo.metrics.prototypes.part_prototypes import noise_scale, peaks, perturbed

HERE = Path(__file__).parent
MODELS = {  # config and shipped checkpoint
    "ProtoPNet, published": ("prototypes/protopnet_cub50_published", ""),
    "ProtoPNet, own connections": ("prototypes/protopnet_cub50", "protopnet-cub50"),
    "ProtoPool": ("prototypes/protopool_cub50", "protopool-cub50"),
    "ProtoTree": ("prototypes/prototree_cub50", "prototree-cub50"),
    "PIP-Net": ("prototypes/pipnet_cub50", "pipnet-cub50"),
    "PIP-Net, steady": ("prototypes/pipnet_cub50_steady", ""),
    "head after ProtoS-ViT": ("prototypes/protosvit_cub50", "protosvit-cub50"),
    "KCC": ("prototypes/kcc_cub50", "kcc-cub50"),
    "EMD-Corr": ("prototypes/emd_corr_cub50", "emd-corr-cub50"),
    "CHM-Corr": ("prototypes/chm_corr_cub50", ""),
}
SEEN = 5  # images in which a prototype must count to be consistent or not


class WithParts(Dataset):
    """Test images, and where their parts are in the crop, (P, 2) shares."""

    def __init__(self, data: CUB) -> None:
        self.images, parts = data.test_dataset(), data.parts("test")
        boxes = data.pictures("test", "none").boxes
        assert boxes is not None
        self.names, self.places = parts.names, parts.within(boxes)

    def __len__(self) -> int:
        return len(self.images)  # pyright: ignore[reportArgumentType]

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        item = self.images[i]
        return item["input"], item["target"], self.places[i]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of trained runs")
    parser.add_argument("--only", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--train", action="store_true", help="train models that have neither a run nor a checkpoint")
    parser.add_argument("--output", type=Path, default=HERE / "PROTOTYPES_CUB50")
    options = parser.parse_args()
    record: dict[str, Any] = {"images": options.images, "black box": None, "models": {}, "absent": {}}
    for name in options.only:
        checkpoint = located(*MODELS[name], options.runs, options.train)
        if checkpoint is None:
            record["absent"][name] = f"python train.py fit --config configs/{MODELS[name][0]}.yaml"
        else:
            config = read_config(checkpoint)
            twin = config.get(ABOUT, {}).get("twin") or {}
            record["black box"] = record["black box"] or twin.get("value")
            found = measure(checkpoint, options.images)
            record["models"][name] = {"accuracy": float(config["metrics"]["accuracy"]), **found}
        options.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        options.output.with_suffix(".md").write_text(report(record), encoding="utf-8")
    print(report(record))


def located(config: str, checkpoint: str, runs: Path, train: bool) -> Path | None:
    """The checkpoint of a run, or a shipped one, or that of a newly trained run; None if there is none."""
    folder = runs / Path(config).name
    if train and not checkpoint:
        folder = run(config, runs)
    if (folder / "checkpoint").is_dir():
        return folder / "checkpoint"
    return find(checkpoint) if checkpoint else None


def measure(checkpoint: Path, images: int) -> dict[str, Any]:
    """All metrics of one model; None where they do not apply."""
    model = zoo.load(checkpoint)
    assert isinstance(model.domain, ImageDomain)
    std = model.domain.std
    data = CUB(size=model.domain.size, mean=model.domain.mean, std=std, augment="none")  # pyright: ignore
    test = WithParts(data)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:images].tolist()
    batches = tqdm(DataLoader(Subset(test, order), 20), desc=type(model).__name__)
    units, parts = len(model.units()), len(test.names)
    size, misaligned = ExplanationSize(units), SpatialMisalignment()
    consistency, stability, purity = (
        PartConsistency(units, parts),
        PartStability(units, parts),
        PartPurity(units, parts, minimum=1e-6, names=test.names),
    )
    draw, spent, placed = torch.Generator().manual_seed(0), 0.0, True
    counted = torch.zeros(units)
    for x, target, places in batches:
        start = time.perf_counter()
        one = model.explain(x, target)
        spent += time.perf_counter() - start
        size.update(weights(one))
        placed = one.support is not None and one.support.ndim == 4 and one.units[0].kind == "prototype"
        if not placed:
            continue
        counts = relevant(weights(one))
        counted += counts.sum(0)
        noisy = model.explain(perturbed(x, generator=draw, std=std), target)
        before, after = (peaks(e.support) for e in (one, noisy))  # pyright: ignore[reportArgumentType]
        consistency.update(before, places, counts)
        stability.update(before, after, places, counts)
        purity.update(before, places, one.activation)
        unit = weights(one).abs().argmax(1)
        assert one.support is not None
        rows = torch.arange(len(x))
        outside = outside_of_box(one.support[rows, unit], (x.shape[2], x.shape[3]))
        changed = model.explain(noise_outside(x, outside, 0.5 * noise_scale(std, x)), target)
        assert changed.support is not None
        misaligned.update(unit, one.activation, one.support, changed.activation, changed.support)
    sizes = {name: float(value) for name, value in size.compute().items()}
    found: dict[str, Any] = {"units": units, **sizes, "ms_per_image": 1000 * spent / len(order)}
    if not placed:
        return found
    shares = consistency.shares().masked_fill(counted < SEEN, torch.nan)
    known = shares.isfinite()
    return {
        **found,
        "consistency": float((shares[known] >= consistency.threshold).double().mean()),
        "consistent_of": int(known.sum()),
        "stability": float(stability.compute()),
        "purity": float(purity.compute()),
        **{name: float(value) for name, value in misaligned.compute().items()},
        "undefined": int(misaligned.undefined),
    }


def weights(one: Explanation) -> Tensor:
    """(B, K) contributions; of a tree, how far the score hangs on each prototype of the path."""
    if one.contributions is not None:
        return one.contributions
    return one.importance * (one.details["turn"] != 0 if "turn" in one.details else 1)


def relevant(contributions: Tensor, cover: float = 0.95) -> Tensor:
    """(B, K) bool, the fewest units that hold so much of the absolute contributions."""
    size, order = contributions.abs().double().sort(dim=1, descending=True, stable=True)
    needed = (size.cumsum(1) - size < cover * size.sum(1, keepdim=True)) & (size > 0)
    return torch.zeros_like(needed).scatter(1, order, needed)


def report(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    columns = (
        ("accuracy", "accuracy", "{:.1%}"),
        ("units", "units", "{}"),
        ("per image", "local", "{:.1f}"),
        ("in all", "global", "{:.0f}"),
        ("consistency", "consistency", "{:.1%}"),
        ("stability", "stability", "{:.1%}"),
        ("purity", "purity", "{:.3f}"),
        ("PLC", "PLC", "{:.1f}"),
        ("PAC", "PAC", "{:.1f}"),
        ("PRC", "PRC", "{:.2f}"),
        ("ms an image", "ms_per_image", "{:.0f}"),
    )
    known = record["black box"]
    twin = f"; the accuracy of a black box with the same backbone is {known:.1%}" if known else ""
    lines = [
        "# Prototype models on CUB-50",
        "",
        f"Box crops, one frozen MobileNetV2 (iNaturalist's birds) for all{twin}. Explanations of {record['images']} "
        "test images. "
        "`python -m benchmarks.prototype_quality --help` describes the columns. A dash: the metric does not apply, "
        "because units have no location in the image or are not learned prototypes. Times are of explanation and "
        "backbone on a CPU.",
        "",
        "| model | " + " | ".join(title for title, _, _ in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, found in record["models"].items():
        lines.append(f"| {name} | " + " | ".join(_cells(found, columns)) + " |")
    lines += [f"\nNot measured: {name}; train it with `{line}`." for name, line in record["absent"].items()]
    return "\n".join(lines) + "\n"


def _cells(found: dict[str, Any], columns: tuple[tuple[str, str, str], ...]) -> Iterator[str]:
    for _, key, style in columns:
        yield style.format(found[key]) if key in found else "–"


if __name__ == "__main__":
    main()
