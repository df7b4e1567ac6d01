"""Series that switch between hidden states, each of which listens to another of the signals.

Tonekaboni et al.: "What went wrong and when?", NeurIPS 2020, arXiv 2003.02821; Crabbé and van der Schaar:
"Explaining Time Series Predictions with Dynamic Masks", ICML 2021, arXiv 2106.05303.
"""

import torch
from torch import Tensor

from zoo.data.synthetic.benchmark import ArrayWorld, Evident
from zoo.domain import SeriesDomain

STAY = torch.tensor([[0.95, 0.02, 0.03], [0.02, 0.95, 0.03], [0.03, 0.02, 0.95]])  # from the row's state to the next
MEANS = torch.tensor([[0.8, -0.5, -0.2], [0.0, -1.0, 0.0], [-0.2, -0.2, 0.8]])  # of the signals in each state
DEVIATION = 0.1**0.5
GAIN = 3.0
LENGTH = 100


class SwitchingSeries(ArrayWorld):
    """Three signals over time, and a hidden state that says which of them the label listens to at the last step.

    The state stays with probability 0.95 from step to step, and starts in any of the three alike. In state s the
    signals are N(mean_s, 0.1) at every step, and the label of the series is 1 with probability sigmoid(3 x_s), of the
    signal s of the last state at the last step. The published data draw a label at every step, and the signals of a
    stay from a Gaussian process of length scale 0.2 steps, whose correlation from step to step is 4e-6: none here.

    Regions are the one signal at the last step that the label listens to ("signal"), and all signals since the state
    changed for the last time, which tell what it is ("state"). The published regions mark steps at which the state
    changes instead. An intervention puts in the place of a factor what another, independent series has there; the
    state's region includes the signal's.

    The ceiling is .8935: E max(P, 1 - P) with P = Σ_s P(state s | series) sigmoid(3 x_s), the Bayes rule, whose
    posterior the forward algorithm computes exactly; the mean over 400,000 series, to .0002.

    Args:
        count: series to train on.
        test_count: series to test on; as many validate.
        batch_size: items a batch.
        workers: processes that load.
        seed: of the series and the shuffles.
    """

    factors = ("signal", "state")

    def __init__(
        self,
        count: int = 800,
        test_count: int = 200,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, workers, seed)
        if min(count, test_count) < 1:
            raise ValueError(f"every split needs series; got {count} and {test_count}.")
        self.counts = {"train": count, "val": test_count, "test": test_count}

    @property
    def ceiling(self) -> float:
        return 0.8935

    def make_domain(self) -> SeriesDomain:
        signals = tuple(f"signal {v + 1}" for v in range(3))
        return SeriesDomain(classes=("y = 0", "y = 1"), variables=signals, length=LENGTH)

    def draw(self, split: str, count: int, generator: torch.Generator) -> Evident:
        states, x = self._series(count, generator)
        rows, last = torch.arange(count), states[:, -1]
        chance = torch.sigmoid(GAIN * x[rows, -1, last])
        labels = (torch.rand(count, generator=generator) < chance).long()
        regions = torch.zeros(count, 2, LENGTH, 3)
        regions[rows, 0, -1, last] = 1
        since = (states != last[:, None]).flip(1).cummax(1).values.flip(1)  # whether any other state is still to come
        regions[:, 1] = (~since).float()[..., None]
        _, spare = self._series(count, generator)
        return Evident(x, labels, [f"switching {split} {i}" for i in range(count)], regions, spare)

    def _series(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """States (count, T), and signals (count, T, 3)."""
        states = torch.randint(3, (count, LENGTH), generator=generator)
        chance, edges = torch.rand(count, LENGTH, generator=generator), STAY.cumsum(1)[:, :2]
        for t in range(1, LENGTH):
            states[:, t] = (chance[:, t, None] >= edges[states[:, t - 1]]).sum(1)
        noise = DEVIATION * torch.randn(count, LENGTH, 3, generator=generator)
        return states, MEANS[states] + noise
