"""Series that switch between hidden states, each of which reads another of the signals.

Tonekaboni et al.: "What went wrong and when?", NeurIPS 2020, arXiv 2003.02821; Crabbé and van der Schaar:
"Explaining Time Series Predictions with Dynamic Masks", ICML 2021, arXiv 2106.05303.
"""

from typing import Any

import torch
from torch import Tensor

from zoo.data.synthetic.arrays import EvidenceRows
from zoo.data.synthetic.benchmark import SyntheticBenchmark
from zoo.domain import SeriesDomain
from zoo.utils.checks import check_at_least

STAY = torch.tensor(
    [[0.95, 0.02, 0.03], [0.02, 0.95, 0.03], [0.03, 0.02, 0.95]]
)  # transition probabilities, rows are the current state
MEANS = torch.tensor([[0.8, -0.5, -0.2], [0.0, -1.0, 0.0], [-0.2, -0.2, 0.8]])  # of the signals, in each state
DEVIATION = 0.1**0.5
GAIN = 3.0
LENGTH = 100


class SwitchingSeries(SyntheticBenchmark):
    """Three signals over time, and a hidden state that selects the signal that determines the label at the last step.

    The state stays with probability 0.95 from step to step, and starts in one of the three with equal probability. In
    state s the signals are N(mean_s, 0.1) at every step, and the label of the series is 1 with probability
    sigmoid(3 x_s), where x_s is the signal s of the last state at the last step. Differs from the published data, which
    draw a label at every step, and the signals from a Gaussian process of length scale 0.2 steps, whose correlation
    from step to step is 4e-6; here it is 0.

    Regions are the signal that determines the label, at the last step ("signal"), and all signals since the last change
    of the state, from which the state can be inferred ("state"). (The published regions mark the steps at which the
    state changes.) An intervention replaces a factor by the values of another, independent series; the region of
    "state" includes that of "signal".

    The ceiling is .8935: E max(P, 1 - P) with P = Σ_s P(state s | series) sigmoid(3 x_s), the Bayes rule, whose
    posterior the forward algorithm computes exactly; the mean over 400,000 series, to .0002.

    Args:
        count: number of training series.
        test_count: number of test series, and of validation series.
        **loading: the options of `DataModule`.
    """

    factors = ("signal", "state")
    ceiling = 0.8935

    def __init__(self, count: int = 800, test_count: int = 200, **loading: Any) -> None:
        super().__init__(**loading)
        check_at_least(1, count=count, test_count=test_count)
        self.counts = {"train": count, "val": test_count, "test": test_count}

    def make_domain(self) -> SeriesDomain:
        signals = tuple(f"signal {v + 1}" for v in range(3))
        return SeriesDomain(classes=("y = 0", "y = 1"), variables=signals, length=LENGTH)

    def draw(self, split: str, count: int, generator: torch.Generator) -> EvidenceRows:
        states, x = self._series(count, generator)
        rows, last = torch.arange(count), states[:, -1]
        chance = torch.sigmoid(GAIN * x[rows, -1, last])
        labels = (torch.rand(count, generator=generator) < chance).long()
        regions = torch.zeros(count, 2, LENGTH, 3)
        regions[rows, 0, -1, last] = 1
        since = (states != last[:, None]).flip(1).cummax(1).values.flip(1)  # whether another state follows
        regions[:, 1] = (~since).float()[..., None]
        _, replacement = self._series(count, generator)
        names = [f"switching {split} {i}" for i in range(count)]
        return EvidenceRows(x, labels, names, regions, self.factors, replacement)

    def _series(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """States (count, T), and signals (count, T, 3)."""
        states = torch.randint(3, (count, LENGTH), generator=generator)
        chance, edges = torch.rand(count, LENGTH, generator=generator), STAY.cumsum(1)[:, :2]
        for t in range(1, LENGTH):
            states[:, t] = (chance[:, t, None] >= edges[states[:, t - 1]]).sum(1)
        noise = DEVIATION * torch.randn(count, LENGTH, 3, generator=generator)
        return states, MEANS[states] + noise
