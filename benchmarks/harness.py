"""Timing of the speed benchmarks: methods are timed in turn, their results compared, their memory measured.

A section is a module of `benchmarks.speed` whose `cases(device)` yields `Case`s, methods that do the same and are
compared with each other, and `Reading`s, single numbers. Goals are set for ratios only: both sides of a ratio are timed
in the same run, round by round, so that other load on the machine affects both.
"""

import ctypes
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.training.staged_module import StagedModule

STATUS = Path("/proc/self/status")
SHORTEST = 2e-3  # seconds that a sample takes at least; shorter calls are timed several at once
ROUNDS = (5, 200)  # at least and at most


@dataclass(frozen=True)
class Goal:
    """Goal for a ratio: `at_least` this many times faster, or `at_most` this many times the cost."""

    at_least: float | None = None
    at_most: float | None = None

    def met(self, value: float) -> bool:
        low = self.at_least is None or value >= self.at_least
        return low and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


@dataclass(frozen=True)
class Case:
    """Methods that do the same; ours is compared with each of the others.

    Attributes:
        what: the task and its size.
        ways: methods by name: calls that return tensors, arrays, numbers, or lists of those.
        ours: name of our method.
        cost: report our time relative to the others, instead of how many times ours is faster.
        goal: for the ratio to the first of the other methods.
        apart: tolerance for results, relative to the largest number (integers must be equal); None if the methods
            compute different things.
        missed: the reason that is reported if the goal is missed.
        shares: methods that do one of so many equal parts of the work; their time is multiplied, and their result is
            compared with the start of ours.
        memory: measure the peak memory of each method.
        cpu: time by CPU seconds of the process instead of the clock, for methods of one thread on a busy machine.
    """

    what: str
    ways: Mapping[str, Callable[[], Any]]
    ours: str = "zoo"
    cost: bool = False
    goal: Goal | None = None
    apart: float | None = 1e-4
    missed: str = ""
    shares: Mapping[str, int] = field(default_factory=dict)
    memory: bool = True
    cpu: bool = False


@dataclass(frozen=True)
class Reading:
    """A number without a comparison, such as the exponent of a scaling curve.

    Attributes:
        curve: the data of a fitted exponent: "axis", "series", "measure", "sizes" and "values".
    """

    what: str
    value: float
    unit: str = ""
    goal: Goal | None = None
    missed: str = ""
    curve: Mapping[str, Any] = field(default_factory=dict)


def training_step(model: StagedModule, batch: Mapping[str, Tensor]) -> Callable[[], None]:
    """A call that computes the losses of a batch and their gradients."""
    model.train()

    def step() -> None:
        model.zero_grad()
        terms = model.losses(*model.step(batch["input"]), dict(batch))
        torch.stack([model.coefficients[name] * term for name, term in terms.items()]).sum().backward()

    return step


def measure(case: Case, seconds: float, device: torch.device) -> dict[str, Any]:
    """Times the methods of a case in turn for about `seconds`, after comparing their results.

    Returns:
        "what", "ways" by name with quartiles of the time in "ms" and the peak memory beyond the start in "MiB", and
        "ratios" of our method to each other one: quartiles over the rounds.

    Raises:
        ArithmeticError: two methods have different results.
    """
    found = {name: way() for name, way in case.ways.items()}  # also warms up
    if case.apart is not None:
        for name in found:
            what = f"{case.what}: {case.ours} and {name}"
            require_equal(found[case.ours], found[name], case.apart, what, name in case.shares)
    del found
    several = {name: _several(way, device) for name, way in case.ways.items()}
    times: dict[str, list[float]] = {name: [] for name in case.ways}
    end, least, most = time.perf_counter() + seconds, *ROUNDS
    while len(times[case.ours]) < least or (time.perf_counter() < end and len(times[case.ours]) < most):
        for name, way in case.ways.items():
            times[name].append(_timed(way, several[name], device, case.cpu) * case.shares.get(name, 1))
    ways = {name: {"ms": _spread(1e3 * t for t in spent)} for name, spent in times.items()}
    if case.memory:
        for name, way in case.ways.items():
            ways[name]["MiB"] = peak_memory(way, device)
    ratios = {}
    for name in case.ways:
        if name != case.ours:
            pairs = zip(times[case.ours], times[name], strict=True)
            ratios[name] = _spread(ours / other if case.cost else other / ours for ours, other in pairs)
    told = {"what": case.what, "kind": "cost" if case.cost else "faster", "ours": case.ours, "ways": ways}
    first = next(iter(ratios.values()))[1]
    return told | {"ratios": ratios, "rounds": len(times[case.ours]), "apart": case.apart} | _judged(case, first)


def read(reading: Reading) -> dict[str, Any]:
    """A reading as plain data."""
    told = {"what": reading.what, "value": reading.value, "unit": reading.unit} | _judged(reading, reading.value)
    return told | ({"curve": dict(reading.curve)} if reading.curve else {})


def _judged(case: Case | Reading, value: float) -> dict[str, Any]:
    if case.goal is None:
        return {}
    met = case.goal.met(value)
    return {"goal": asdict(case.goal), "met": met} | ({} if met or not case.missed else {"missed": case.missed})


def require_equal(ours: Any, theirs: Any, apart: float, what: str, share: bool = False) -> None:
    """Refuses to compare methods with different results; for `share`, only the start of our result is compared.

    Raises:
        ArithmeticError: they do; the message says by how much.
    """
    if isinstance(ours, Mapping):
        ours, theirs = list(ours.values()), list(theirs.values())
    if isinstance(ours, Sequence):
        if len(ours) != len(theirs):
            raise ArithmeticError(f"{what} find {len(ours)} and {len(theirs)} things.")
        for mine, other in zip(ours, theirs, strict=True):
            require_equal(mine, other, apart, what, share)
        return
    mine, other = _numbers(ours), _numbers(theirs)
    mine, apart = (
        mine[: len(other)] if share else mine,
        apart if mine.dtype.kind == "f" or other.dtype.kind == "f" else 0.0,
    )
    if mine.shape != other.shape:
        raise ArithmeticError(f"{what} find numbers of shape {mine.shape} and {other.shape}.")
    finite = np.isfinite(mine)
    largest = max(float(np.abs(mine[finite]).max(initial=0)), 1e-12)
    gap = float(np.abs(mine[finite].astype(np.float64) - other[finite]).max(initial=0)) / largest
    if not np.array_equal(mine[~finite], other[~finite], equal_nan=True):
        raise ArithmeticError(f"{what} find infinities or NaN in different places.")
    if not gap <= apart:
        raise ArithmeticError(f"{what} differ by {gap:.2g} of the largest value; at most {apart:g} is allowed.")


def _numbers(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        value = (value.detach().float() if value.is_floating_point() else value).cpu().numpy()
    return np.atleast_1d(value)


def _timed(way: Callable[[], Any], times: int, device: torch.device, cpu: bool = False) -> float:
    """Seconds of one call, of the CPU or of the clock."""
    clock = time.process_time if cpu else time.perf_counter
    start = clock()
    for _ in range(times):
        way()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (clock() - start) / times


def _several(way: Callable[[], Any], device: torch.device) -> int:
    """Number of calls per sample, so that a sample is long enough for the clock."""
    return max(1, round(SHORTEST / max(min(_timed(way, 1, device) for _ in range(2)), 1e-7)))


def _spread(values: Any) -> list[float]:
    """Lower quartile, median and upper quartile."""
    return [float(f"{v:.4g}") for v in statistics.quantiles(list(values), n=4, method="inclusive")]


def peak_memory(way: Callable[[], Any], device: torch.device) -> float | None:
    """Peak memory of a call in MiB beyond the start; None if the system does not report it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        way()
        return round((torch.cuda.max_memory_allocated(device) - before) / 2**20, 1)
    if not STATUS.is_file():
        return None
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is no room for what comes
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    except OSError as error:
        print(f"peak memory is not measured: {error}", file=sys.stderr)
        return None
    before = resident("VmRSS")
    way()
    return round(max(resident("VmHWM") - before, 0) / 2**10, 1)


def resident(field: str) -> int:
    """KiB of a line of this process's status, such as VmRSS."""
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(field))


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of a straight line through the logarithms: cost grows as size to this power."""
    return float(np.polyfit(np.log(np.asarray(sizes)), np.log(np.asarray(costs)), 1)[0])
