"""Drift of reasons: how much a model's use of its units differs between two periods, and whether that is chance.

Each unit is tested by its exact contributions in both periods. The population stability index says how large a change
is, a two-sample test how likely chance is to give one as large, and the procedure of Benjamini and Hochberg
("Controlling the false discovery rate", JRSS B 1995) keeps the expected share of false alarms among all alarms below a
rate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import chi2_contingency, ks_2samp  # SciPy comes with scikit-learn

from zoo.audit.explained_period import Period, read_period, require_same_question
from zoo.utils.checks import check_between

BINS = 10  # of the population stability index: deciles of the old period
FEWEST = 20  # explanations of a period
EXPECTED = 5  # answers of a class in each period, below which it is counted among the other classes
ANSWERS, SCORE = "answer", "score"  # kinds of what is tested besides units


@dataclass(frozen=True)
class Change:
    """How one quantity changed between two periods.

    Attributes:
        name: of the unit, or "answer" (which classes were explained) or "score" (of the explained class).
        kind: "unit", "answer" or "score".
        before: mean in the old period; NaN for answers.
        after: mean in the new period.
        listed_before: share of the old explanations that list the unit.
        listed_after: share of the new ones.
        stability: population stability index; from about 0.1 it is usually called moderate, from 0.25 large.
        statistic: of the two-sample test (Kolmogorov-Smirnov; chi-squared for answers).
        p: its p-value.
        q: adjusted for the number of tests (Benjamini-Hochberg).
        drifted: whether q is at most the rate.
        shares: of the old and the new period in each bin of the index.
    """

    name: str
    kind: str
    before: float
    after: float
    listed_before: float
    listed_after: float
    stability: float
    statistic: float
    p: float
    q: float
    drifted: bool
    shares: tuple[tuple[float, ...], tuple[float, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without the shares."""
        return {name: value for name, value in vars(self).items() if name != "shares"}


@dataclass(frozen=True)
class Drift:
    """Drift between two periods.

    Attributes:
        before: number of explanations in the old period.
        after: number in the new period.
        rate: the expected share of false alarms among all alarms.
        changes: of units, answers and scores, by p-value.
    """

    before: int
    after: int
    rate: float
    changes: tuple[Change, ...]

    @property
    def drifted(self) -> list[Change]:
        """The changes that are more than chance."""
        return [change for change in self.changes if change.drifted]


def measure_drift(old: str | Path, new: str | Path, rate: float = 0.05, target: str | None = None) -> Drift:
    """Compares the explanations of two periods by one model.

    Explanations list the strongest units (`explain --top`); a unit that is not listed counts as 0. With `--top` at the
    number of units, all contributions are compared.

    Args:
        old: explanations.jsonl of the period to compare with.
        new: explanations.jsonl of the period to test.
        rate: false discovery rate, in [0, 1].
        target: only explanations of this class, so that another mix of classes does not count as drift.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is not of explanations, the two are of other models or options, or one has fewer than 20.
    """
    check_between(0, 1, rate=rate)
    periods = [read_period(Path(path), target) for path in (old, new)]
    require_same_question(*periods)
    for period in periods:
        if period.count < FEWEST:
            raise ValueError(f"{period.path} has {period.count} explanations; drift is measured on {FEWEST} or more.")
    return drift_between(*periods, rate=rate)


def drift_between(old: Period, new: Period, rate: float = 0.05) -> Drift:
    """The same of two periods that are read, see `measure_drift`."""
    units = sorted({*old.usage, *new.usage})
    tests = [_tested(unit, "unit", old, new, old.values(unit), new.values(unit)) for unit in units]
    tests.append(_tested(SCORE, SCORE, old, new, old.scores, new.scores))
    if (answers := _answers(old.answers, new.answers)) is not None:
        tests.append(answers)
    adjusted = benjamini_hochberg([test["p"] for test in tests])
    changes = [Change(**test, q=q, drifted=q <= rate) for test, q in zip(tests, adjusted, strict=True)]
    return Drift(old.count, new.count, rate, tuple(sorted(changes, key=lambda change: (change.p, -change.stability))))


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjusted p-values: q_(i) = min over j >= i of p_(j) m / j, in the order given."""
    values = np.asarray(p, dtype=np.float64)
    order = values.argsort(kind="stable")
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    adjusted = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    return adjusted[order.argsort(kind="stable")].tolist()


def stability_index(old: np.ndarray, new: np.ndarray, bins: int = BINS) -> tuple[float, np.ndarray, np.ndarray]:
    """The population stability index Σ (q - p) ln(q / p) over bins, and the shares p of old and q of new values.

    Bins end at the quantiles of the old values, which are some of them; equal quantiles make one bin. Half a value is
    added to each bin, so that empty ones stay finite.

    Args:
        old: (N,).
        new: (M,).
        bins: number of quantiles.
    """
    edges = np.unique(np.quantile(old, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf"))
    counts = [np.bincount(np.searchsorted(edges, side, side="left"), minlength=len(edges) + 1) for side in (old, new)]
    p, q = ((count + 0.5) / (count.sum() + 0.5 * len(count)) for count in counts)
    return float(((q - p) * np.log(q / p)).sum()), p, q


def _tested(name: str, kind: str, old: Period, new: Period, a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    test: Any = ks_2samp(a, b, method="auto" if max(len(a), len(b)) <= 1_000 else "asymp")
    index, p, q = stability_index(a, b)
    listed = [len(side.usage.get(name, [])) / side.count if kind == "unit" else 1.0 for side in (old, new)]
    return {
        "name": name,
        "kind": kind,
        "before": float(a.mean()),
        "after": float(b.mean()),
        "listed_before": listed[0],
        "listed_after": listed[1],
        "stability": index,
        "statistic": float(test.statistic),
        "p": float(test.pvalue),
        "shares": (tuple(p.tolist()), tuple(q.tolist())),
    }


def _answers(old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, Any] | None:
    """Which classes were explained, rare ones together; None if that is one class."""
    totals = (sum(old.values()), sum(new.values()))
    counts, rare = [], [0, 0]
    for name in sorted({*old, *new}):
        pair = [old.get(name, 0), new.get(name, 0)]
        if min(totals) * sum(pair) / sum(totals) < EXPECTED:
            rare = [a + b for a, b in zip(rare, pair, strict=True)]
        else:
            counts.append(pair)
    table = np.asarray([*counts, *([rare] if sum(rare) else [])], dtype=np.float64)
    if len(table) < 2:
        return None
    test: Any = chi2_contingency(table, correction=False)
    p, q = (table + 0.5).T / (table + 0.5).sum(0)[:, None]
    index = float(((q - p) * np.log(q / p)).sum())
    blank = {"before": float("nan"), "after": float("nan"), "listed_before": 1.0, "listed_after": 1.0}
    shares = (tuple(p.tolist()), tuple(q.tolist()))
    found = {"stability": index, "statistic": float(test.statistic), "p": float(test.pvalue), "shares": shares}
    return {"name": ANSWERS, "kind": ANSWERS, **blank, **found}
