"""Progress lines: how many there are, and what they say, on a clock of our own."""

import sys

import pytest
import torch

from zoo.utils import progress


class Clock:
    """Advances by a fixed time whenever it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_a_line_every_ten_seconds(clock: Clock, capsys: pytest.CaptureFixture) -> None:
    """A log file got thousands of fragments."""
    for _ in progress.track(torch.zeros(1200), "reading", unit="batch"):
        clock.now += 0.05  # a minute in all
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5 and "\r" not in "".join(lines)
    assert lines[0] == "reading: 201 of 1,200 (17%), 20 batches a second, 50 s left"
    assert lines[-1].endswith(" left") and "(8" in lines[-1]


def test_slow_steps_have_a_rate(clock: Clock, capsys: pytest.CaptureFixture) -> None:
    """The rate was "0 a second"."""
    with progress.track(None, "explain", 400, unit="input") as bar:
        for _ in range(2):
            clock.now += 60
            bar.update()
    assert capsys.readouterr().err.splitlines() == [
        "explain: 1 of 400 (0%), 60 s per input, 6 h 39 min left",
        "explain: 2 of 400 (0%), 60 s per input, 6 h 38 min left",
    ]


def test_nothing_is_shown_of_a_short_or_silent_loop(clock: Clock, capsys: pytest.CaptureFixture) -> None:
    assert list(progress.track(range(3))) == [0, 1, 2]
    for _ in progress.track(range(3), shown=False):
        clock.now += 100
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert isinstance(progress.track(range(3), shown=False), progress.tqdm)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (12000, "3 h 20 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text
