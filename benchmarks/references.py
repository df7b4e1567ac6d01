"""Sizes of explanations relative to each reference: `python -m benchmarks.references`.

For every shipped checkpoint of an additive classifier of images, on `--images` evenly spaced test images, of the
predicted class: the effective units (the exponential of the entropy of the shares of |contribution|), and the fewest
units that hold 90 % of the sum of |contributions|. Writes benchmarks/REFERENCES.md and .json.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

import zoo
from zoo.checkpoints.pretrained import find
from zoo.cli.checkpoint_data import data_of
from zoo.core.reference import REFERENCES
from zoo.metrics.cover import smallest_cover
from zoo.training.batch import as_batch

HERE = Path(__file__).parent
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    options = parser.parse_args()
    record: dict[str, Any] = {"images": options.images, "checkpoints": {}}
    for name in zoo.list_checkpoints():
        model = zoo.load(name)
        if model.domain.modality == "image" and model.domain.task == "classification" and model.additive:
            record["checkpoints"][name] = measure(name, model, options.images)
    (HERE / "REFERENCES.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (HERE / "REFERENCES.md").write_text(page(record), encoding="utf-8")
    print(page(record))


def measure(name: str, model: zoo.SelfInterpretable, images: int) -> dict[str, Any]:
    """Means over the images for each reference, and what the model declares."""
    data = data_of(find(name), None, [], "references")
    data.prepare_data()
    data.setup("test")
    test: Any = data.test_dataset()
    rows = torch.linspace(0, len(test) - 1, images).long().tolist()
    sizes: dict[str, list[Tensor]] = {reference: [] for reference in REFERENCES}
    for start in tqdm(range(0, images, BATCH), desc=name):
        one = model.explain(torch.stack([as_batch(test[i])["input"] for i in rows[start : start + BATCH]]))
        for reference in REFERENCES:
            contributions = one.relative_to(reference).contributions
            assert contributions is not None
            sizes[reference].append(size(contributions))
    means = {reference: torch.cat(each).nanmean(0).tolist() for reference, each in sizes.items()}
    return {"model": type(model).__name__, "units": len(model.units()), "declares": model.reference, **means}


def size(contributions: Tensor) -> Tensor:
    """(B, 2) effective units and n90 of contributions (B, K); NaN without any."""
    weight = contributions.double().abs()
    total = weight.sum(1, keepdim=True)
    share = weight / total.clamp_min(1e-300)
    effective = torch.xlogy(share, share).sum(1).neg().exp()
    return torch.stack([effective, smallest_cover(weight).sum(1).double()], 1).masked_fill(total == 0, torch.nan)


def page(record: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = [
        "# Sizes of explanations relative to each reference",
        "",
        f"Shipped checkpoints of additive classifiers of images, {record['images']} evenly spaced test images each: "
        "effective units · fewest units with 90 % of the absolute contributions. The declared reference is in bold.",
        "",
        f"| checkpoint | model | units | {' | '.join(f'`{name}`' for name in REFERENCES)} |",
        f"|---|---|---:|{'---:|' * len(REFERENCES)}",
    ]
    for name, found in record["checkpoints"].items():
        cells = (f"{found[r][0]:.1f} · {found[r][1]:.1f}" for r in REFERENCES)
        bold = (f"**{cell}**" if r == found["declares"] else cell for r, cell in zip(REFERENCES, cells, strict=True))
        lines.append(f"| {name} | {found['model']} | {found['units']} | {' | '.join(bold)} |")
    return "\n".join([*lines, "", "Created by `python -m benchmarks.references`.", ""])


if __name__ == "__main__":
    main()
