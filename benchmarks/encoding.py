"""What takes the place of hidden elements decides whether a selector can cheat: `python -m benchmarks.encoding`.

LEX is trained on a digit beside a garment (`configs/selectors/lex_panels.yaml`) with two imputers: a constant, so that
the predictor sees which patches are shown, and several random training inputs, so that it does not. The stronger the
penalty on selected patches, the more a selector gains from telling the digit by its choice. Finished runs are kept.
Writes benchmarks/ENCODING.md and .json, and docs/encoding.png.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo
from benchmarks.runs import HERE, read, trained
from benchmarks.selectors import measure
from zoo.cli.checkpoint_data import data_of
from zoo.training.batch import as_batch

KINDS = {"constant": "a constant", "marginal": "2 random training inputs"}
COLUMNS = {
    "selected": "selected",
    "accuracy": "accuracy",
    "evalx": "EVAL-X",
    "mask_only": "mask only",
    "false_positive_rate": "FPR",
    "again": "again",
    "swapped": "swapped",
}
ABOUT = """In %, mean over training seeds (standard deviation, where there are several). The model chooses patches of
7 x 7 pixels; half of them show the digit, the others a garment that says nothing about the class. *EVAL-X*: accuracy
on the selected patches of a network that was trained on random masks: what the values of the patches tell. *Mask
only*: accuracy of a network that sees which patches are selected, not their values; chance is 10. An accuracy far
above EVAL-X, and a high *mask only*, mean that the choice encodes the answer. *FPR*: selected patches of the garment's
half."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of all trainings (default: 0 1 2)")
    parser.add_argument("--penalties", type=float, nargs="+", default=[2.0], help="on selected patches (default: 2)")
    parser.add_argument("--runs", type=Path, default=Path("runs/encoding"), help="folder of the trained models")
    options = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    for penalty in options.penalties:
        for kind in KINDS:
            for seed in options.seeds:
                folder = options.runs / f"{kind}_{penalty:g}_seed{seed}"
                if not (folder / "encoding.json").is_file():
                    train(folder, kind, penalty, seed)
                found.setdefault(f"{kind}, {penalty:g}", []).append(read(folder / "encoding.json"))
    (HERE / "ENCODING.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (HERE / "ENCODING.md").write_text(page(found), encoding="utf-8")
    draw(found, options.penalties[-1], HERE.parent / "docs" / "encoding.png")
    print(page(found))
    return 0


def train(folder: Path, kind: str, penalty: float, seed: int) -> None:
    """Trains a selector, and measures it: encoding.json in its folder."""
    changes = {"imputer.kind": kind, "recipe.coefficients.selected": str(penalty)}
    changes = {f"model.init_args.{option}": value for option, value in changes.items()}
    trained(folder, "selectors/lex_panels", seed, f"{kind}, penalty {penalty:g}, seed {seed}", changes)
    record = measure(folder, False, seed) | {"masks": mean_masks(folder).tolist()}
    (folder / "encoding.json").write_text(json.dumps(record) + "\n", encoding="utf-8")


@torch.no_grad()
def mean_masks(folder: Path) -> Tensor:
    """(C, *grid) how often each patch is selected on the test inputs of a class."""
    data = data_of(folder / "checkpoint", folder / "config.yaml", [], "evaluate")
    data.prepare_data()
    data.setup("test")
    model: Any = zoo.load(folder / "checkpoint")
    total = torch.zeros(len(model.domain.classes), *model.elements.grid)
    count = torch.zeros(len(model.domain.classes))
    for batch in map(as_batch, data.test_dataloader()):
        shown = model.evidence(batch["input"]).activation.unflatten(1, model.elements.grid)
        total.index_add_(0, batch["target"], shown)
        count += batch["target"].bincount(minlength=len(count))
    return total / count.clamp_min(1)[:, None, None]


def page(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The Markdown page."""
    lines = ["# Can a selector tell the answer by its choice?", "", ABOUT, ""]
    lines += [f"| hidden patches become | penalty | seeds | {' | '.join(COLUMNS.values())} |"]
    lines += ["|---|---:|---:|" + "---:|" * len(COLUMNS)]
    for name, runs in found.items():
        kind, penalty = name.split(", ")
        cells = [spread([100 * run[key] for run in runs]) for key in COLUMNS]
        lines.append(f"| {KINDS[kind]} | {penalty} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Created by `python -m benchmarks.encoding`.", ""])


def spread(values: Sequence[float]) -> str:
    several = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{several}"


def draw(found: Mapping[str, Sequence[Mapping[str, Any]]], penalty: float, path: Path) -> None:
    """How often each patch is selected, by digit, and the accuracies; needs matplotlib (the extra `plot`)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.0), layout="constrained", dpi=140)
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(1, 2, width_ratios=(2.4, 1))
    left, right = parts
    panels = left.subplots(4, 5)
    for row, kind in enumerate(KINDS):
        run = found[f"{kind}, {penalty:g}"][0]
        for digit, mask in enumerate(run["masks"]):
            panel = panels[2 * row + digit // 5][digit % 5]
            panel.imshow(mask, cmap="Blues", vmin=0, vmax=1, extent=(0, 56, 28, 0))
            panel.axvline(28, color="0.7", linewidth=0.6)
            panel.set(xticks=[], yticks=[])
            panel.set_ylabel(str(digit), rotation=0, ha="right", va="center", fontsize=8)
        panels[2 * row][0].set_title(f"hidden: {KINDS[kind]}", fontsize=8, loc="left")
    bars = right.subplots()
    for row, kind in enumerate(KINDS):
        run = found[f"{kind}, {penalty:g}"][0]
        values = [100 * run[key] for key in ("accuracy", "evalx", "mask_only")]
        places = [k + 0.4 * row - 0.2 for k in range(3)]
        colour = ("#D55E00", "#0072B2")[row]
        bars.bar(places, values, 0.36, color=colour, label=KINDS[kind])
        for place, value in zip(places, values, strict=True):
            bars.text(place, value + 1, f"{value:.0f}", ha="center", fontsize=7)
    bars.axhline(10, color="0.5", linewidth=0.8, linestyle=":")
    bars.set_xticks(range(3), ["accuracy", "EVAL-X", "mask only"], fontsize=8)
    bars.set_ylim(0, 108)
    bars.tick_params(axis="y", labelsize=7)
    bars.set_ylabel("%", fontsize=8)
    bars.legend(fontsize=7, frameon=False, loc="upper right", title="hidden patches become", title_fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
