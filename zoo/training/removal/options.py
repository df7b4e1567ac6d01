"""The options of removal-consistent training, as they stand in a recipe."""

from dataclasses import dataclass

from zoo.utils.checks import check_at_least


@dataclass(frozen=True)
class Removal:
    """How a model learns from inputs of which a random region is replaced.

    Raises:
        ValueError: a negative weight, or shares outside of their range.
    """

    label: float = 0.0
    """Weight of the task's loss on inputs with a region replaced."""
    consistency: float = 0.0
    """Weight of the difference between the change of the scores and the contributions inside the region; additive
    models whose units have supports."""
    compact: float = 0.0
    """Weight of the mean logarithm of the number of effective units; additive models."""
    rows: float = 0.5
    """Share of the rows of each batch, in (0, 1]."""
    share: tuple[float, float] = (0.02, 0.3)
    """Smallest and largest share of the input that a region covers, in (0, 1)."""
    start: float = 0.3
    """Share of the epochs after which `consistency` and `compact` begin to rise: a model that is to be consistent
    before it knows the task learns nothing."""
    full: float = 0.6
    """Share of the epochs after which they have their weight."""
    imputers: tuple[str, ...] = ()
    """Replacements for the region, see `zoo.training.removal.imputers`; by default all for the modality."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "share", tuple(self.share))
        object.__setattr__(self, "imputers", tuple(self.imputers))
        check_at_least(0, label=self.label, consistency=self.consistency, compact=self.compact)
        if not 0 < self.rows <= 1:
            raise ValueError(f"removal.rows must be in (0, 1]; got {self.rows}.")
        if len(self.share) != 2 or not 0 < self.share[0] <= self.share[1] < 1:
            raise ValueError(f"removal.share must be two numbers with 0 < first <= second < 1; got {list(self.share)}.")
        if not 0 <= self.start <= self.full <= 1:
            raise ValueError(
                f"removal needs 0 <= start <= full <= 1, shares of the epochs; got {self.start} and {self.full}."
            )

    @property
    def explained(self) -> bool:
        """Whether contributions are needed."""
        return self.consistency > 0 or self.compact > 0

    def ramp(self, progress: float) -> float:
        """The factor of `consistency` and `compact` at a share of the epochs, in [0, 1]."""
        if progress >= self.full:
            return 1.0
        return max(progress - self.start, 0.0) / (self.full - self.start)
