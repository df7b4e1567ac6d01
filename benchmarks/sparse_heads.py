"""Accuracy at fixed numbers of concepts (ANEC), and the time it takes: `python -m benchmarks.sparse_heads`.

On CUB-50, from features of a frozen MobileNetV2 (ImageNet): scores of its 35 attributes by ridge regression, and random
directions. Three ways to fit the heads: the path of 150 λ by SAGA, at most 8 epochs each, which does not converge; the
same path solved exactly (float64, until a step improves the objective by less than 1e-8 of it); and
`accuracy_at_levels`. Times are of the CPU, on one thread. Writes benchmarks/SPARSE_HEADS.md and .json.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.cub_concepts import features
from zoo.data import CUB
from zoo.metrics.concepts.sparsity import LEVELS, accuracy_at_levels
from zoo.networks.sparse_levels import EXPLAINED
from zoo.networks.sparse_linear import LENGTH, RATIO, Solution, largest_penalty, path, truncate
from zoo.networks.sparse_newton import solve

HERE = Path(__file__).parent
RIDGE = 0.3
RANDOM = (35, 150, 400)
WAYS = {"saga": "SAGA, 8 epochs for each λ", "exact": "exact path", "ours": "`accuracy_at_levels`"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default=Path(tempfile.gettempdir()) / "zoo_cub_features.safetensors", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cub = CUB(concepts="class", augment="none", workers=0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    table, record = features(cub, options.cache), {}
    classes = int(table["train_target"].max()) + 1
    for name, (train, test) in problems(table).items():
        pair, held = (train, table["train_target"]), (test, table["test_target"])
        record[name] = {"concepts": train.shape[1], "rows": len(train), "classes": classes}
        for way, run in {
            "ours": lambda a, b: accuracy_at_levels(a, b, classes),
            "saga": lambda a, b: levels_of(path(a[0], a[1], classes), b),
            "exact": lambda a, b: levels_of(exact_path(a[0].double(), a[1], classes), (b[0].double(), b[1])),
        }.items():
            record[name][way] = timed(run, pair, held)
            print(name, way, record[name][way], flush=True)
    (HERE / "SPARSE_HEADS.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (HERE / "SPARSE_HEADS.md").write_text(page(record), encoding="utf-8")
    return 0


def problems(table: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Standardised concept scores of the training and of the test images, by name."""
    x, x_test, concepts = table["train_input"], table["test_input"], table["train_concepts"]
    x, x_test = standardised(x, x_test)
    gram = x.double().T @ x.double() / len(x) + RIDGE * torch.eye(x.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(gram, x.double().T @ (concepts - concepts.mean(0)).double() / len(x)).float()
    found = {"attributes": standardised(x @ weight, x_test @ weight)}
    draw = torch.Generator().manual_seed(0)
    for count in RANDOM:
        directions = torch.randn(x.shape[1], count, generator=draw)
        found[f"{count} random directions"] = standardised(x @ directions, x_test @ directions)
    return found


def standardised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = train.mean(0), train.std(0).clamp_min(1e-6)
    return (train - mean) / std, (test - mean) / std


def exact_path(z: Tensor, target: Tensor, classes: int) -> Iterator[Solution]:
    """The exact solution for each λ, until 99 % of the deviance is explained."""
    share = F.one_hot(target, classes).double().mean(0)
    largest, unexplained = largest_penalty(z, target, classes), -float((share * share.log()).sum())
    solution = Solution(z.new_zeros(classes, z.shape[1]), share.log(), largest, [])
    for place in range(LENGTH):
        solution = solve(z, target, classes, largest * RATIO**place, tolerance=1e-8, start=solution)
        yield solution
        if F.cross_entropy(z @ solution.weight.T + solution.bias, target) < (1 - EXPLAINED) * unexplained:
            return


def levels_of(solutions: Iterable[Solution], held: tuple[Tensor, Tensor]) -> list[float | None]:
    """The accuracy of the first head of each level."""
    found: list[float | None] = []
    for solution in solutions:
        while len(found) < len(LEVELS) and int((solution.weight != 0).sum()) >= LEVELS[len(found)] * len(solution.bias):
            kept = truncate(solution.weight, LEVELS[len(found)])
            found.append(((held[0] @ kept.T + solution.bias).argmax(1) == held[1]).double().mean().item())
        if len(found) == len(LEVELS):
            break
    return found + [None] * (len(LEVELS) - len(found))


def timed(run: Callable[..., list[float | None]], *pairs: tuple[Tensor, Tensor]) -> dict[str, Any]:
    start = time.process_time()
    accuracy = run(*pairs)
    return {"accuracy": accuracy, "seconds": round(time.process_time() - start, 2)}


def gap(found: list[float | None], exact: list[float | None]) -> float:
    """The largest distance in percentage points, over the levels that both have."""
    pairs = zip(found, exact, strict=True)
    return max((100 * abs(a - b) for a, b in pairs if a is not None and b is not None), default=float("nan"))


def page(record: dict[str, Any]) -> str:
    """The Markdown page."""
    first = next(iter(record.values()))
    lines = [
        "# Accuracy at fixed numbers of concepts (ANEC)",
        "",
        f"{first['rows']} training images of {first['classes']} classes (CUB-50), scores of concepts on frozen "
        "features. Test accuracy in % with exactly 5, 10, ... concepts for each class; –: no head of the path has so "
        "many. *Off by*: the largest distance from the exact path, in points. Seconds of one CPU thread. A head that "
        "converges to one weight fewer than a level leaves it to the next λ, which can be worth a point.",
        "",
        f"| scores | heads | {' | '.join(map(str, LEVELS))} | off by | seconds |",
        f"|---|---|{'---:|' * (len(LEVELS) + 2)}",
    ]
    for name, one in record.items():
        for way, title in WAYS.items():
            cells = ("–" if v is None else f"{100 * v:.1f}" for v in one[way]["accuracy"])
            off = "" if way == "exact" else f"{gap(one[way]['accuracy'], one['exact']['accuracy']):.1f}"
            lines.append(f"| {name} | {title} | {' | '.join(cells)} | {off} | {one[way]['seconds']:.1f} |")
    return "\n".join([*lines, "", "Created by `python -m benchmarks.sparse_heads`.", ""])


if __name__ == "__main__":
    sys.exit(main())
