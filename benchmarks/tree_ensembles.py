"""Several ProtoTrees together on the first 50 classes of CUB-200-2011: `python -m benchmarks.tree_ensembles`.

For each seed, trains `configs/prototypes/prototree_cub50.yaml` by itself, as in the paper (section 5: an ensemble is
the mean of the probabilities of trees that were trained one by one), after the black box that teaches it. Reads the
accuracy on all test images of each tree and of all sets of trees, and how many prototypes are on the path of an image
to the most probable leaf of each tree. Finished runs are kept. Writes benchmarks/TREE_ENSEMBLES.md and .json.
"""

import argparse
import statistics
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

import zoo
from benchmarks.parts_page import wilson
from benchmarks.runs import Record, read, trained
from zoo.core.evidence import Evidence
from zoo.data import CUB
from zoo.domain import ImageDomain
from zoo.networks.base import Features
from zoo.prototypes import ProtoTree

TEACHER = "blackbox_cub50_birds"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trees (default: 0 1 2)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the trained models")
    options = parser.parse_args()
    if len(set(options.seeds)) < 2:
        parser.error(f"an ensemble has at least two trees of different seeds; got {options.seeds}.")
    teacher = trained(options.runs / TEACHER, f"prototypes/{TEACHER}", 0, "black box")
    changes = {"model.init_args.recipe.teacher.run": str(teacher.resolve())}
    folders = [
        trained(options.runs / f"prototree_seed{seed}", "prototypes/prototree_cub50", seed, f"tree {seed}", changes)
        for seed in options.seeds
    ]
    record = Record("TREE_ENSEMBLES", page)
    record.found = measure(options.seeds, folders) | {"black box": read(teacher / "metrics.json")["accuracy"]}
    record.write()
    print(page(record.found))
    return 0


def measure(seeds: list[int], folders: list[Path]) -> dict[str, Any]:
    """Accuracies of all sets of trees, and lengths of paths."""
    trees = [zoo.load(folder / "checkpoint") for folder in folders]
    scores, lengths, labels = answers([tree for tree in trees if isinstance(tree, ProtoTree)])
    sets = [chosen for size in range(1, len(seeds) + 1) for chosen in combinations(range(len(seeds)), size)]
    right = {
        ", ".join(str(seeds[i]) for i in chosen): int((scores[list(chosen)].mean(0).argmax(1) == labels).sum())
        for chosen in sets
    }
    return {"images": len(labels), "right": right, "path": [float(each) for each in lengths.mean(1)]}


@torch.inference_mode()
def answers(trees: list[ProtoTree]) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (T, N, C) of T trees, prototypes on their paths (T, N), and labels (N,); one pass of the backbone."""
    first = trees[0]
    assert isinstance(first.domain, ImageDomain)
    data = CUB(size=first.domain.size, mean=first.domain.mean, std=first.domain.std, augment="none")  # pyright: ignore
    scores, lengths, labels = [], [], []
    for batch in tqdm(DataLoader(data.test_dataset(), 32), desc="test images"):
        features = first.backbone(batch["input"]).as_subclass(Features)
        evidence = [tree.evidence(features) for tree in trees]
        scores.append(torch.stack([tree.readout(seen) for tree, seen in zip(trees, evidence, strict=True)]))
        lengths.append(torch.stack([length(tree, seen) for tree, seen in zip(trees, evidence, strict=True)]))
        labels.append(batch["target"])
    return torch.cat(scores, 1), torch.cat(lengths, 1).float(), torch.cat(labels)


def length(model: ProtoTree, evidence: Evidence) -> Tensor:
    """(B,) the number of prototypes on the path to the most probable leaf."""
    tree = model.tree
    return ((tree.turns(tree.best(model.answers(evidence))) != 0) & (tree.cuts == 0)).sum(1)


def page(record: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = [
        "# ProtoTrees together on CUB-50",
        "",
        f"All {record['images']:,} test images; 95 % intervals over images (Wilson). The trees were trained one by "
        "one, with different seeds, each with its own add-on and prototypes on one frozen backbone; together their "
        "probabilities are averaged, and an explanation is one path in each. The black box that taught them: "
        f"{record['black box']:.1%}.",
        "",
        "| trees, by seed | accuracy | prototypes on the paths |",
        "|---|---|---:|",
    ]
    lengths = dict(zip([name for name in record["right"] if "," not in name], record["path"], strict=True))
    for name, right in record["right"].items():
        low, high = wilson(right, record["images"])
        units = sum(lengths[seed] for seed in name.split(", "))
        lines.append(f"| {name} | {right / record['images']:.1%} ({low:.1%} to {high:.1%}) | {units:.1f} |")
    mean = statistics.mean(right for name, right in record["right"].items() if "," not in name) / record["images"]
    lines += ["", f"Mean of the single trees: {mean:.1%}.", "", "Created by `python -m benchmarks.tree_ensembles`.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
