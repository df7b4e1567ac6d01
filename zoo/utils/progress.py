"""Progress of long loops: a bar on a terminal, else a line every ten seconds with rate and remaining time."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

from tqdm import tqdm

T = TypeVar("T")
EVERY = 10.0  # seconds between two lines


class Pace:
    """Decides when a line of progress is due, and how fast the work advances.

    Args:
        total: amount of work; None if it is not known.
        done: amount that was done before.
    """

    def __init__(self, total: float | None, done: float = 0) -> None:
        self.total, self.first = total, done
        self.begun = self.last = time.monotonic()

    def due(self) -> bool:
        """Whether ten seconds have passed since the beginning or the last time that this was true."""
        now = time.monotonic()
        if now - self.last < EVERY:
            return False
        self.last = now
        return True

    def text(self, done: float, unit: str) -> str:
        """Rate and remaining time, such as "12.3 batches a second, 2 min 5 s left".

        Args:
            done: amount of work done.
            unit: one piece of it, such as "batch".
        """
        rate = (done - self.first) / max(time.monotonic() - self.begun, 1e-9)
        if rate <= 0:
            return ""
        plural = f"{unit}es" if unit.endswith(("ch", "s")) else f"{unit}s"
        speed = f"{rate:.3g} {plural} a second" if rate >= 1 else f"{1 / rate:.3g} s per {unit}"
        return speed if self.total is None else f"{speed}, {duration((self.total - done) / rate)} left"


class Lines(Generic[T]):
    """Counts the steps of a loop and prints a line every ten seconds; has the methods of a bar of tqdm.

    Args:
        items: to iterate over; None if the steps are given to `update`.
        title: of the lines.
        total: number of steps; by default the length of the items, if they have one.
        unit: one step.
        shown: whether to print anything.
    """

    def __init__(self, items: Iterable[T] | None, title: str, total: int | None, unit: str, shown: bool) -> None:
        length = getattr(items, "__len__", None)
        self.items, self.title, self.unit, self.shown, self.done = items, title, unit, shown, 0
        self.total = length() if total is None and length is not None else total
        self.pace = Pace(self.total)

    def __iter__(self) -> Iterator[T]:
        for item in () if self.items is None else self.items:
            yield item
            self.update(1)

    def update(self, steps: int = 1) -> None:
        """Counts steps."""
        self.done += steps
        if self.shown and self.pace.due():
            share = f" of {self.total:,} ({self.done / self.total:.0%})" if self.total else ""
            text = self.pace.text(self.done, self.unit)
            print(f"{self.title or 'progress'}: {self.done:,}{share}, {text}", file=sys.stderr, flush=True)

    def set_postfix_str(self, text: str) -> None:
        """Sets the text at the end of a bar; lines have none."""

    def __enter__(self) -> "Lines[T]":
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is left to close."""


def track(
    items: Iterable[T] | None = None,
    title: str = "",
    total: int | None = None,
    *,
    unit: str = "step",
    shown: bool = True,
) -> "tqdm[T] | Lines[T]":
    """Follows a loop: a bar that vanishes at the end if stderr is a terminal, else lines.

    Args:
        items: to iterate over; None if the steps are given to `update`.
        title: of the bar.
        total: number of steps; by default the length of the items, if they have one.
        unit: one step, such as "batch".
        shown: whether to show anything.
    """
    if sys.stderr.isatty():
        bar: tqdm[Any] = tqdm(items, title or None, total, leave=False, unit=unit, disable=not shown)
        return bar
    return Lines(items, title, total, unit, shown)


def duration(seconds: float) -> str:
    """A time as text, such as "45 s", "2 min 5 s" or "3 h 20 min"."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
