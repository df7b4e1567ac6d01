"""Whether evidence for a tag lies in the notes that cause it: `python -m benchmarks.tagged_music`.

For every tag of Tagged music and the test clips that have it and get it: the share of |contribution| of the checkpoint
attention-pool-tagged-music inside the time of the tag's notes; the same of its contributions in a random order; and of
integrated gradients of the black box with the same convolutions, summed over the bands and frames of each position.
Needs the run of selectors/blackbox_tagged_music (`--twin`). Writes benchmarks/TAGGED_MUSIC.md and .json.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from zoo.core.module import SelfInterpretable
from zoo.data.synthetic.tagged_music import TAGS, ClipItems, TaggedMusic
from zoo.training.black_box_file import load_network

HERE = Path(__file__).parent
TWIN = HERE.parent / "runs" / "checkpoints" / "blackbox_tagged_music" / "black_box.safetensors"
NAME, STEPS, CLIPS = "attention-pool-tagged-music", 16, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--twin", type=Path, default=TWIN, help="black_box.safetensors of the twin")
    options = parser.parse_args()
    model, twin = zoo.load(NAME), load_network(options.twin)
    items = TaggedMusic().test_dataset()
    assert isinstance(items, ClipItems)
    record = {tag: measure(model, twin, items, c) for c, tag in enumerate(TAGS)}
    (HERE / "TAGGED_MUSIC.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (HERE / "TAGGED_MUSIC.md").write_text(page(record), encoding="utf-8")
    print(page(record))


def measure(model: SelfInterpretable, twin: Callable[[Tensor], Tensor], items: ClipItems, c: int) -> dict[str, Any]:
    """The shares of one tag, by name, means over clips."""
    rows = (items.targets[:, c] > 0).nonzero()[:, 0]
    told = model.explain(items.inputs[rows], c)
    found = told.score > 0
    told, rows = model.explain(items.inputs[rows[found]], c), rows[found]
    parts = told.contributions
    assert parts is not None
    notes = torch.stack([items.regions(int(row))[c].amax(1) for row in rows]).float()  # (n, frames)
    count = parts.shape[1]
    within = positions(notes, count) > 0
    order = torch.rand(parts.shape, generator=torch.Generator().manual_seed(c)).argsort(1)
    gradients = integrated(twin, items.inputs[rows[:CLIPS]], c).sum(2)  # (m, frames)
    size = -(-gradients.shape[1] // count)
    of_twin = F.pad(gradients, (0, count * size - gradients.shape[1])).unflatten(1, (count, size)).sum(2)
    return {
        "clips": len(rows),
        "contributions": share(parts, within),
        "random order": share(parts.gather(1, order), within),
        "integrated gradients of the black box": share(of_twin, within[:CLIPS]),
        "time of the notes": float(within.float().mean()),
    }


def share(parts: Tensor, within: Tensor) -> float:
    """The share of |parts| (n, L) in positions `within` (n, L) bool, mean over rows."""
    size = parts.abs()
    return float(((size * within).sum(1) / size.sum(1)).mean())


def positions(frames: Tensor, count: int) -> Tensor:
    """The largest of the values (n, frames) of each of `count` positions (n, count)."""
    return F.max_pool1d(frames[:, None], -(-frames.shape[1] // count), ceil_mode=True)[:, 0]


def integrated(network: Callable[[Tensor], Tensor], x: Tensor, c: int) -> Tensor:
    """Integrated gradients (n, frames, bands) of a score, from the mean log-mel value (0)."""
    total = torch.zeros_like(x)
    for step in range(STEPS):
        inputs = (x * (step + 0.5) / STEPS).requires_grad_()
        total += torch.autograd.grad(network(inputs)[:, c].sum(), inputs)[0]
    return total / STEPS * x


def page(record: dict[str, Any]) -> str:
    """The table as Markdown."""
    columns = list(next(iter(record.values())))
    mean = {name: sum(row[name] for row in record.values()) / len(record) for name in columns}
    lines = ["# Tagged music: is the evidence for a tag in its notes?", ""]
    lines += [
        "Written by `python -m benchmarks.tagged_music`: the share of |evidence| inside the time of the notes that"
    ]
    lines += ["give a clip its tag, over the test clips that have the tag and get it.", ""]
    lines += ["| tag | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for tag, row in [*record.items(), ("mean", mean)]:
        cells = [f"{row[name]:.0f}" if name == "clips" else f"{row[name]:.1%}" for name in columns]
        lines.append(f"| {tag} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
