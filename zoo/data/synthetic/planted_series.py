"""Series of noise with planted shapes, so that the steps and sensors that determine the class are known.

Queen et al.: "Encoding Time-Series Explanations through Self-Supervised Model Behavior Consistency", NeurIPS 2023,
arXiv 2306.02109, section 5 and appendix C.
"""

from typing import Any

import torch

from zoo.data.synthetic.arrays import EvidenceRows, balanced
from zoo.data.synthetic.benchmark import SyntheticBenchmark
from zoo.data.synthetic.planted_shapes import KINDS
from zoo.domain import SeriesDomain
from zoo.utils.checks import check_at_least, check_choice


class PlantedSeries(SyntheticBenchmark):
    """FreqShapes, SeqComb-UV, SeqComb-MV and LowVar: four classes each, determined by shapes planted in noise.

        name          steps   sensors   the class is
        freq_shapes   50      1         spikes of 3 steps, down or up, every 10 or every 17 steps, on N(0, 0.25²)
        seqcomb_uv    200     1         no ramp, or two ramps: down and down, up and up, up and then down
        seqcomb_mv    200     4         the same with longer ramps, on two of the sensors
        lowvar        200     2         a window of 10 to 19 steps of N(±1.5, 0.1²), on the first or the second sensor

    A spike is ±(1.75, 2, 1.75), added to the noise. The first is around a random step before the last period; those
    that do not fit into the series are left out. A ramp of L steps (10 to 19, or 15 to 29) is slope j + sin(A j) for j
    from -L/2 on, with A ~ Poisson (of rate 10, or 5) and slope ±5 (|min| + |max|) / L of the base. A ramp or a window
    replaces the base, which is x_t = 0.3 x_(t-1) + 1.5 u_t u_(t-2) + 0.1, u ~ U(0, 0.5), plus Gaussian noise of
    standard deviation 0.01, or 1 in "lowvar". The library behind the published series calls this process NARMA, but the
    sum of its non-linear term is empty.

    Regions are the steps of the spikes ("spikes"), of each ramp ("first ramp" and "second ramp", empty in the class
    "none"), and of the window ("window"). An intervention restores the noise or base from before the planting. Inputs
    are not normalised, as published.

    The ceiling is 1 up to noise. In "freq_shapes" the best rule errs in less than one of a billion series, by a union
    bound over all pairs of spike trains of different classes. In "lowvar" it errs in less than one of ten thousand,
    measured with a rule that looks for ten consecutive steps near a level. For SeqComb no bound is derived. A detector
    that fits a ramp of every length and frequency at every step, without knowing the slope, was right in 7,996 of 8,000
    series of "seqcomb_uv" and in all of 8,000 of "seqcomb_mv"; so the ceiling is above .999.

    Args:
        name: of the data set, see above.
        count: number of training series.
        val_count: number of validation series.
        test_count: number of test series.
        **loading: the options of `DataModule`.
    """

    ceiling = 1.0

    def __init__(
        self,
        name: str = "freq_shapes",
        count: int = 5000,
        val_count: int = 100,
        test_count: int = 1000,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        check_choice(KINDS, name=name)
        self.name, self.kind = name, KINDS[name]
        check_at_least(1, count=count, val_count=val_count, test_count=test_count)
        self.factors, self.counts = self.kind.factors, {"train": count, "val": val_count, "test": test_count}

    def make_domain(self) -> SeriesDomain:
        sensors = tuple(f"sensor {v + 1}" for v in range(self.kind.sensors))
        return SeriesDomain(classes=self.kind.classes, variables=sensors, length=self.kind.length)

    def draw(self, split: str, count: int, generator: torch.Generator) -> EvidenceRows:
        labels = balanced(count, len(self.kind.classes), generator)
        base, planted, regions = self.kind.plant(labels, self.kind.length, self.kind.sensors, generator)
        x = torch.where(regions.any(1), planted, base)
        names = [f"{self.name} {split} {i}" for i in range(count)]
        return EvidenceRows(x, labels, names, regions, self.factors, base)
