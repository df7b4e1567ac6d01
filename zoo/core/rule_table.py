"""Rules for people: text, class, support and precision, one form for all models whose units or scores are rules."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A rule, and what it does on the data that it was measured on.

    Attributes:
        text: the condition, such as "age > 40 and not member".
        conclusion: the class or the regression target that the rule speaks for.
        support: share of the rows on which it holds, in [0, 1]; 0 if it was not measured.
        outcome: of the rows on which it holds, the share that belongs to the class (precision), or the mean of the
            target.
        weight: what it adds to the score of the conclusion, for classes above the mean of what it adds to all of them;
            None if the rule is the score.
        is_share: whether `outcome` is a share of rows.
    """

    text: str
    conclusion: str
    support: float
    outcome: float
    weight: float | None = None
    is_share: bool = True

    def measured(self) -> str:
        """Support and outcome in words."""
        if not self.support:
            return "not measured on data"
        where = f"holds for {self.support:.1%} of the rows"
        what = f"{self.outcome:.1%} of them {self.conclusion}" if self.is_share else f"mean {self.outcome:.4g}"
        return f"{where}, {what}"

    def __str__(self) -> str:
        weight = "" if self.weight is None else f" {self.weight:+.2f}"
        return f"{self.conclusion}{weight} if {self.text} ({self.measured()})"


def ordered(rules: Iterable[Rule]) -> list[Rule]:
    """Rules by conclusion, the largest weight or support first."""
    return sorted(rules, key=lambda rule: (rule.conclusion, -abs(rule.support if rule.weight is None else rule.weight)))
