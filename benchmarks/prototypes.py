"""What prototypes cost: `python -m benchmarks.prototypes`.

Own formulations against those of the papers' code, restated here, at the shape of CUB (200 classes, 7 x 7 cells); each
pair is checked to give the same result before it is timed. Then a training step of every model on maps of a frozen
MobileNetV2 beside a step of the black box on the same maps. Best times of some runs, taken in turn, since other work
on the machine can only add to them. `python -m benchmarks.push` times the projection on its own.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from zoo.blackbox import BlackBox
from zoo.domain import ImageDomain
from zoo.functional import squared_distances
from zoo.module import SelfInterpretable
from zoo.prototypes.tree import Tree
from zoo.training import StagedModule

CLASSES = 50
BACKBONE = {"name": "mobilenetv2_100", "pad_type": "same"}
STEPS: dict[str, dict[str, Any]] = {
    "protopnet": {"dim": 512, "similarity": "cosine"},
    "protopool": {"pool": 200, "dim": 256, "similarity": "cosine"},
    "prototree": {"depth": 7, "dim": 32},
    "pipnet": {"prototypes": 256, "tail": 0},
    "protosvit": {"prototypes": 256, "dim": 256, "coefficients": {"consistency": 0}},
}


class Pair(NamedTuple):
    """Two ways to do the same, which return what they found, and how far that may be apart."""

    what: str
    plain: Callable[[], list[Tensor]]
    ours: Callable[[], list[Tensor]]
    apart: float


def distances() -> Iterator[Pair]:
    """All cells of 75 images to 2,000 prototypes, with gradients."""
    z, prototypes = torch.rand(75, 128, 7, 7, requires_grad=True), torch.rand(2000, 128, requires_grad=True)
    grad = torch.randn(75, 2000, 7, 7)

    def three_convolutions() -> list[Tensor]:
        kernel = prototypes[:, :, None, None]
        squares = F.conv2d(z.square(), torch.ones_like(kernel))
        return list(
            torch.autograd.grad(
                F.relu(squares - 2 * F.conv2d(z, kernel) + prototypes.square().sum(1)[:, None, None]),
                (z, prototypes),
                grad,
            )
        )

    def product() -> list[Tensor]:
        return list(torch.autograd.grad(squared_distances(z, prototypes), (z, prototypes), grad))

    yield Pair("distances of 75 images to 2,000 prototypes, with gradients", three_convolutions, product, 1e-1)


def trees() -> Iterator[Pair]:
    """Routing and leaves of a tree of depth 9 for 64 images and 200 classes."""
    tree, answers, target = Tree(9, 200), torch.rand(64, 511), torch.randint(200, (64,))
    tree.leaves.copy_(torch.randn(512, 200))
    distributions = tree.distributions()

    def walk(node: int, reach: Tensor) -> Tensor:
        if node >= tree.nodes:
            return reach[:, None] * distributions[node - tree.nodes]
        left, right = reach * (1 - answers[:, node]), reach * answers[:, node]
        return walk(2 * node + 1, left) + walk(2 * node + 2, right)

    yield Pair(
        "tree of depth 9: scores of 64 images",
        lambda: [walk(0, torch.ones(64))],
        lambda: [tree.arrivals(answers) @ tree.distributions()],
        1e-4,
    )
    arrivals, labels = tree.arrivals(answers), F.one_hot(target, 200).float()
    scores = arrivals @ distributions

    def leaf_by_leaf() -> list[Tensor]:
        gains = [(arrivals[:, leaf, None] * distributions[leaf] * labels / scores).sum(0) for leaf in range(tree.count)]
        return [torch.stack(gains)]

    yield Pair("tree of depth 9: what the leaves gain", leaf_by_leaf, lambda: [tree.gain(answers, target)], 1e-3)


def steps() -> Iterator[tuple[str, Callable[[], None], Callable[[], None]]]:
    """Names of the models, a step of the black box, and a step of each on maps (32, 1280, 7, 7)."""
    domain = ImageDomain(classes=tuple(f"class {i}" for i in range(CLASSES)), size=(224, 224), channels=3)
    maps = torch.randn(2, 32, 1280, 7, 7).relu()
    batch = {"input": maps[0], "view": maps[1], "target": torch.randint(CLASSES, (32,))}

    def step_of(model: StagedModule) -> Callable[[], None]:
        model.train()
        names = next(stage.train for stage in model.stages if stage.train)
        learning = [p for name in names for p in _parameters(model.groups()[name])]
        optimizer = torch.optim.Adam(learning, lr=1e-4)

        def step() -> None:
            optimizer.zero_grad()
            scores, evidence = model.step(batch["input"])
            terms = model.losses(scores, evidence, batch)
            torch.stack([model.coefficients[name] * term for name, term in terms.items()]).sum().backward()
            optimizer.step()

        return step

    twin = step_of(BlackBox(domain, backbone=BACKBONE, stages=[{"name": "head", "epochs": 1, "train": ["head"]}]))
    for name, options in STEPS.items():
        model = zoo.create_model(name, domain=domain, backbone=BACKBONE, thumbnail=8, **options)
        assert isinstance(model, SelfInterpretable)
        yield name, twin, step_of(model)


def _parameters(group: Any) -> list[Tensor]:
    return [group] if isinstance(group, Tensor) else list(group.parameters())


PARTS = {"distances": distances, "trees": trees}


def check_equal(pair: Pair) -> None:
    """Refuses to compare the speed of two ways that find different things.

    Raises:
        ArithmeticError: they do.
    """
    for plain, ours in zip(pair.plain(), pair.ours(), strict=True):
        apart = float((plain - ours).abs().nan_to_num(0).max())  # infinity minus infinity: both found nothing
        if apart > pair.apart:
            raise ArithmeticError(f"{pair.what}: results are up to {apart:.3g} apart, {pair.apart:.3g} is allowed.")


def best_of(ways: list[Callable[[], Any]], repeats: int, clock: Callable[[], float]) -> list[float]:
    """Best times in ms, of runs in turn."""
    best = [float("inf")] * len(ways)
    for _ in range(repeats):
        for i, way in enumerate(ways):
            start = clock()
            way()
            best[i] = min(best[i], 1000 * (clock() - start))
    return best


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prototypes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--repeats", type=int, default=10, help="runs of each")
    parser.add_argument("--cpu-time", action="store_true", help="count the time on all cores, as on a busy machine")
    parser.add_argument("--json", type=Path, help="write the results to this file as well")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    clock = time.process_time if options.cpu_time else time.perf_counter
    rows = []
    print(f"{options.threads} threads, best {'CPU' if options.cpu_time else 'wall'} time of {options.repeats}")
    print(f"  {'':<60}{'published':>12}{'ours':>12}{'faster':>9}")
    for part in PARTS.values():
        for pair in part():
            check_equal(pair)
            plain, ours = best_of([pair.plain, pair.ours], options.repeats, clock)
            rows.append({"what": pair.what, "plain_ms": plain, "ours_ms": ours, "faster": plain / ours})
            print(f"  {pair.what:<60}{plain:>9.2f} ms{ours:>9.2f} ms{plain / ours:>8.1f}x")
    print(f"  {'a training step on cached maps, batch of 32':<60}{'black box':>12}{'ours':>12}{'times':>9}")
    for name, twin, step in steps():
        plain, ours = best_of([twin, step], options.repeats, clock)
        rows.append({"what": f"step of {name}", "black_box_ms": plain, "ours_ms": ours, "times": ours / plain})
        print(f"  {name:<60}{plain:>9.2f} ms{ours:>9.2f} ms{ours / plain:>8.1f}x")
    if options.json:
        record = {"threads": options.threads, "cpu_time": options.cpu_time, "rows": rows}
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
