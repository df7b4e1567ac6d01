"""Simulated skin conductance of several people, whose law is known.

The response to an event is the difference of two exponentials, as in Alexander et al.: "Separating individual skin
conductance responses in a short interstimulus-interval paradigm", Journal of Neuroscience Methods 146, 2005. The law is
that of Mandal, arXiv 2505.18169, 2025: decay, influence of an emotional drive, and of a slow one.
"""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.items import Rows
from zoo.data.base.module import DataModule
from zoo.domain import SeriesDomain
from zoo.utils.checks import check_above, check_at_least

STEP = 0.25  # s between two samples
LENGTH = 120  # steps of a window, 30 s
STRIDE = 20  # steps between two windows of a recording
FINE = 5  # steps of the simulation in a sample
VARIABLES = ("conductance", "event", "arousal", "resting")
TRUTH = {"decay": 0.2, "rise": 1.5, "event": 4.0, "arousal": 0.3}  # 1/s, 1/s, µS/s, µS/s
RESTING, APART = 3.0, 0.3  # µS, median over people of the resting level, and the deviation of its logarithm
NOISE = 0.03  # µS, of a measurement
CHANCE, FEWEST = 0.03, 4  # of an event at a step; steps between two events at least


class PersonRows(Rows):
    """Windows of recordings; items also have the number of the "subject".

    Args:
        inputs, targets, names: see `Rows`.
        subjects: (N,) whole numbers.
    """

    def __init__(self, inputs: Tensor, targets: Tensor, names: list[str], subjects: Tensor) -> None:
        super().__init__(inputs, targets, names)
        self.subjects = subjects

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {**super().__getitem__(i), "subject": self.subjects[i]}


class SkinConductance(DataModule):
    """Windows of 30 s of drives, and the skin conductance y at their end, of people who differ.

        r' = -b (r - event)                                  sudomotor response to events, b = 1.5 per s
        y' = -a (y - resting) + 4 r + 0.3 arousal            a = 0.2 per s; y and resting in µS

    An event lasts for one sample of 0.25 s and has a size between 0.5 and 1.5, so that its response is the difference
    of two exponentials; arousal is smooth in [0, 1]. The resting level of a person, measured before, is around 3 µS.
    Each person has own numbers in place of these four, whose logarithms have the standard deviation `spread`. Noise of
    measurements is 0.03 µS; the law is simulated with steps of 1/20 s.

    An input has the drives, and of the conductance the first measurement in all steps, so that nothing of the answer is
    in it. The values to predict are the measured conductance at the end of the window, and its change per second, the
    central difference of the measurements around it. Splits are of different people.

    Args:
        people: number of people in training.
        test_people: in the test, and half as many in validation.
        minutes: of each recording.
        spread: see above.
        noise: standard deviation of a measurement, in µS.
        **loading: the options of `DataModule`.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(
        self,
        people: int = 40,
        test_people: int = 20,
        minutes: float = 2.0,
        spread: float = 0.1,
        noise: float = NOISE,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        check_at_least(2, people=people, test_people=test_people)
        check_above(LENGTH * STEP / 60 + 2 * STEP / 60, minutes=minutes)
        check_at_least(0, spread=spread, noise=noise)
        self.counts = {"train": people, "val": test_people // 2, "test": test_people}
        self.samples, self.spread, self.noise = round(minutes * 60 / STEP), spread, noise

    def make_domain(self) -> SeriesDomain:
        return SeriesDomain(
            classes=("conductance", "conductance per s"),
            task="regression",
            variables=VARIABLES,
            length=LENGTH,
            step=STEP,
            unit="s",
        )

    def items(self, split: str, training: bool) -> PersonRows:
        return self._splits[split]

    @cached_property
    def _splits(self) -> dict[str, PersonRows]:
        return {
            split: self._rows(split, people, torch.Generator().manual_seed(3 * self.seed + stream))
            for stream, (split, people) in enumerate(self.counts.items())
        }

    def _rows(self, split: str, people: int, generator: torch.Generator) -> PersonRows:
        drives, exact, resting = self._recordings(people, generator)
        known = resting + self.noise * torch.randn(people, generator=generator)
        measured = (exact + self.noise * torch.randn(exact.shape, generator=generator)).float()
        starts = list(range(0, self.samples - LENGTH - 1, STRIDE))
        inputs, targets, names = [], [], []
        for person in range(people):
            for start in starts:
                end = start + LENGTH
                held = measured[person, start].expand(LENGTH, 1)
                rest = known[person].float().expand(LENGTH, 1)
                inputs.append(torch.cat([held, drives[person, start:end].float(), rest], 1))
                change = (measured[person, end + 1] - measured[person, end - 1]) / (2 * STEP)
                targets.append(torch.stack([measured[person, end], change]))
                names.append(f"{split} person {person + 1}, {start * STEP:g} to {end * STEP:g} s")
        subjects = torch.arange(people).repeat_interleave(len(starts))
        return PersonRows(torch.stack(inputs), torch.stack(targets), names, subjects)

    def _recordings(self, people: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Drives (people, S, 2) that hold for a sample each, the conductance (people, S) at its start, and at rest."""
        own = {
            name: value * torch.exp(self.spread * torch.randn(people, generator=generator, dtype=torch.float64))
            for name, value in TRUTH.items()
        }
        drives = torch.stack([self._events(people, generator), self._arousal(people, generator)], 2)
        response = torch.zeros(people, dtype=torch.float64)
        resting = RESTING * torch.exp(APART * torch.randn(people, generator=generator, dtype=torch.float64))
        y = resting + 0.5 * own["arousal"] / own["decay"]
        exact, small = [], STEP / FINE
        for t in range(self.samples):
            exact.append(y)
            for _ in range(FINE):  # the midpoint rule
                middle = response + small / 2 * own["rise"] * (drives[:, t, 0] - response)
                slow = own["arousal"] * drives[:, t, 1] + own["decay"] * resting
                half = y + small / 2 * (slow - own["decay"] * y + own["event"] * response)
                response = response + small * own["rise"] * (drives[:, t, 0] - middle)
                y = y + small * (slow - own["decay"] * half + own["event"] * middle)
        return drives, torch.stack(exact, 1), resting

    def _events(self, people: int, generator: torch.Generator) -> Tensor:
        """(people, S), the sizes of events."""
        size = 0.5 + torch.rand(people, self.samples, generator=generator, dtype=torch.float64)
        drawn = torch.rand(people, self.samples, generator=generator) < CHANCE
        for t in range(1, self.samples):
            drawn[:, t] &= ~drawn[:, max(t - FEWEST, 0) : t].any(1)
        return size * drawn

    def _arousal(self, people: int, generator: torch.Generator) -> Tensor:
        """(people, S) in [0, 1]: three waves of 20 to 60 s."""
        shape, seconds = (people, 3, 1), torch.arange(self.samples, dtype=torch.float64) * STEP
        period = 20 + 40 * torch.rand(shape, generator=generator, dtype=torch.float64)
        phase = 2 * torch.pi * torch.rand(shape, generator=generator, dtype=torch.float64)
        return 0.5 + torch.sin(2 * torch.pi * seconds / period + phase).mean(1) / 2
