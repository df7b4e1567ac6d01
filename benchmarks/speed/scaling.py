"""Growth of time and memory with prototypes, concepts, groups, classes, the image size and the data set size.

Each curve doubles a size four times. Its exponent is the slope on logarithmic scales, by least squares: 1 is linear, 0
is constant. Time is of one core, the minimum of several calls; memory is the peak of a call beyond the model and its
input, at least 1 MiB. Backbones are small, so that they do not dominate. In the figure, n^x states the exponent, and
the grey line has exponent 1.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.io import write_png

import zoo
from benchmarks.harness import Goal, Reading, exponent, peak_memory, training_step
from benchmarks.speed.pipeline import one_thread
from zoo.cli.explain import explain
from zoo.core.module import SelfInterpretable
from zoo.domain import ImageDomain
from zoo.networks.base import Features
from zoo.prototypes import ProtoPNet
from zoo.training.projection_set import ProjectionSet

CPU = torch.device("cpu")
SMALL = {"name": "convnet", "widths": [16, 32], "pool": [0, 1]}
LEAST = 1.0  # MiB: less cannot be told from noise
TIME, MEMORY = "time in ms", "memory in MiB"
Make = Callable[[int], Callable[[], Any]]


def domain(classes: int = 10, concepts: int = 0, side: int = 28) -> ImageDomain:
    return ImageDomain(
        classes=tuple(f"class {i}" for i in range(classes)),
        concepts=tuple(f"concept {i}" for i in range(concepts)),
        size=(side, side),
    )


def ms_of(call: Callable[[], Any], seconds: float = 0.5) -> float:
    """The least CPU time of a call, over some of them; the first one warms up."""
    call()
    spent, end = [], time.perf_counter() + seconds
    while len(spent) < 3 or (time.perf_counter() < end and len(spent) < 50):
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return 1e3 * min(spent)


def curve(axis: str, series: str, sizes: Sequence[int], make: Make, time_goal: float | None = 1.1,
          memory_goal: float | None = None) -> Iterator[Reading]:  # fmt: skip
    """The exponents of time and of memory."""
    times, peaks = [], []
    for size in sizes:
        torch.manual_seed(0)
        call = make(size)
        times.append(ms_of(call))
        peaks.append(max(peak_memory(call, CPU) or 0.0, LEAST))
    told = {"axis": axis, "series": series, "sizes": list(sizes)}
    for measure, values, goal in ((TIME, times, time_goal), (MEMORY, peaks, memory_goal)):
        yield Reading(
            f"{series}, by {axis}: exponent of {measure.split()[0]} ({sizes[0]:,} to {sizes[-1]:,}: {values[0]:.3g} to "
            f"{values[-1]:.3g} {measure.split()[-1]})",
            exponent(sizes, values),
            goal=None if goal is None else Goal(at_most=goal),
            curve=told | {"measure": measure, "values": [float(f"{v:.4g}") for v in values]},
        )


def training(model: SelfInterpretable, batch: dict[str, Tensor]) -> Callable[[], None]:
    """A step forwards and backwards on maps, with the backbone left out."""
    step = training_step(model, batch)
    model.backbone.eval().requires_grad_(False)
    return step


def explaining(model: SelfInterpretable, x: Tensor) -> Callable[[], Any]:
    if isinstance(model, ProtoPNet):
        model.prototypes.pushed.fill_(True)  # as if its prototypes had been projected
    model.eval()
    return lambda: model.explain(x)


def maps(batch: int, classes: int, concepts: int = 0) -> dict[str, Tensor]:
    features = torch.rand(batch, SMALL["widths"][-1], 7, 7).as_subclass(Features)
    found = {"input": features, "target": torch.arange(batch) % classes}
    return found | ({"concepts": torch.randint(0, 2, (batch, concepts)).float()} if concepts else {})


def protopnet(classes: int, per_class: int, side: int = 28) -> SelfInterpretable:
    return zoo.create_model(
        "protopnet",
        domain=domain(classes, side=side),
        backbone=SMALL,
        prototypes_per_class=per_class,
        dim=64,
        thumbnail=8,
    )


def by_prototypes() -> Iterator[Reading]:
    sizes, batch = (250, 500, 1000, 2000, 4000), maps(32, 10)

    def predict(count: int) -> Callable[[], Any]:
        model = protopnet(10, count // 10).eval()
        return torch.no_grad()(lambda: model.step(batch["input"]))

    yield from curve("prototypes", "ProtoPNet, predict", sizes, predict, memory_goal=1.1)
    yield from curve("prototypes", "ProtoPNet, train", sizes, lambda n: training(protopnet(10, n // 10), batch),
                     memory_goal=1.1)  # fmt: skip


def by_concepts() -> Iterator[Reading]:
    sizes = (100, 200, 400, 800, 1600)
    for name in ("cbm", "cem"):

        def train(count: int, name: str = name) -> Callable[[], None]:
            model = zoo.create_model(name, domain=domain(50, count), backbone=SMALL)
            return training(model, maps(32, 50, count))

        yield from curve("concepts", f"{name.upper()}, train", sizes, train, memory_goal=1.1)


def by_groups() -> Iterator[Reading]:
    sizes, x = (12, 24, 48, 96, 192), torch.rand(2, 3, 56, 56)

    def sop(groups: int) -> SelfInterpretable:
        return zoo.create_model(
            "sop", domain=domain(side=56), backbone=SMALL, elements={"patch": 4}, grouping={"groups": groups}
        )

    def train(groups: int) -> Callable[[], None]:
        model = sop(groups)
        model.warned = True  # untrained groups hold little of the attention
        return training(model, {"input": x, "target": torch.arange(2)})

    yield from curve("groups", "SOP, explain", sizes, lambda n: explaining(sop(n), x), memory_goal=1.1)
    yield from curve("groups", "SOP, train", sizes, train, memory_goal=1.1)


def by_classes() -> Iterator[Reading]:
    sizes, x = (50, 100, 200, 400, 800), torch.rand(16, 3, 28, 28)

    def cbm(count: int) -> SelfInterpretable:
        return zoo.create_model("cbm", domain=domain(count, 112), backbone=SMALL)

    yield from curve("classes", "ProtoPNet, explain", sizes, lambda n: explaining(protopnet(n, 5), x), memory_goal=1.1)
    yield from curve("classes", "CBM, explain", sizes, lambda n: explaining(cbm(n), x), memory_goal=1.1)


def by_pixels() -> Iterator[Reading]:
    sides = (32, 64, 128, 256)

    def make(pixels: int) -> Callable[[], Any]:
        side = round(pixels**0.5)
        return explaining(protopnet(10, 5, side), torch.rand(4, 3, side, side))

    yield from curve("pixels", "ProtoPNet, explain", [s * s for s in sides], make, memory_goal=1.1)


class Made(Dataset):
    """So many images, made when asked for, so that the data set itself takes no memory."""

    def __init__(self, count: int) -> None:
        self.count, self.one = count, torch.rand(3, 64, 64)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"input": self.one.roll(i % 64, 1) * (1 + i % 7) / 7, "target": i % 10}

    def name(self, i: int) -> str:
        return f"image {i}"


def by_images(place: Path) -> Iterator[Reading]:
    sizes = (128, 256, 512, 1024, 2048)

    def push(count: int) -> Callable[[], None]:
        model, projection_set = protopnet(10, 10, 64), ProjectionSet(Made(count), batch_size=32)
        return lambda: model.push(projection_set)

    yield from curve("images", "push", sizes, push, memory_goal=0.1)
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (sizes[-1], 1, 28, 28), generator=draw, dtype=torch.uint8)

    def folder(count: int) -> Callable[[], None]:
        of = place / str(count)
        of.mkdir()
        for i in range(count):
            write_png(pixels[i], str(of / f"{i}.png"))
        arguments = ["--checkpoint", "protopnet-mnist", "--input", str(of), "--output", str(place / f"{count}-out"),
                     "--pages", "0", "--again"]  # fmt: skip

        def run() -> None:
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                explain(arguments)

        return run

    yield from curve("images", "explain a folder", sizes, folder, memory_goal=0.1)


def cases(device: torch.device) -> Iterator[Reading]:
    with one_thread(), tempfile.TemporaryDirectory() as place:
        yield from by_prototypes()
        yield from by_concepts()
        yield from by_groups()
        yield from by_classes()
        yield from by_pixels()
        yield from by_images(Path(place))
