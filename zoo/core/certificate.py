"""Certificates: how far measured removals are from what contributions say, and which answers are covered.

A certificate is plain data that a checkpoint keeps; `zoo.metrics.certify` measures one.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any


@dataclass(frozen=True)
class Bound:
    """A bound on the difference between the predicted and the measured change of a score.

    Attributes:
        width: the difference is at most this in a share `Certificate.level` of the inputs.
        typical: median size of the measured changes, to compare `width` with.
        constant: the width if the median change were predicted for every input; an explanation that tells something
            about removals has a smaller `width`.
    """

    width: float
    typical: float
    constant: float


@dataclass(frozen=True)
class Answers:
    """What covers the right answer.

    Attributes:
        threshold: classes with at least this probability are in the set, and the predicted class always; for values,
            every output is within this distance of the truth.
        size: mean number of classes in a set on the rows of the certificate; None for values.
    """

    threshold: float
    size: float | None


@dataclass(frozen=True)
class Certificate:
    """Finite-sample bounds for inputs like the rows that it was measured on (split conformal prediction).

    Vovk, Gammerman, Shafer: "Algorithmic Learning in a Random World", 2005; Lei et al.: "Distribution-Free Predictive
    Inference for Regression", JASA 2018. For a new input that is exchangeable with the rows, each bound holds with
    a probability of at least `level`, over the draw of the rows and of the input.

    Attributes:
        level: in (0, 1).
        rows: number of rows that the bounds were measured on.
        split: which rows, "val" or "test".
        units: number of strongest units that are removed.
        imputers: replacements of removed parts; the bounds hold for all of them at once.
        strongest: for the removal of what the strongest units see; None if it does not apply.
        regions: for the removal of a random part of the input; None if it does not apply.
        answers: None if it does not apply.
    """

    level: float
    rows: int
    split: str
    units: int
    imputers: tuple[str, ...]
    strongest: Bound | None
    regions: Bound | None
    answers: Answers | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` reads it."""
        return {**asdict(self), "imputers": list(self.imputers)}

    @staticmethod
    def from_dict(plain: Any) -> "Certificate":
        """Reads what `to_dict` returned.

        Raises:
            ValueError: a key is missing or unknown, or a number is not finite or out of range.
        """
        names = {one.name for one in fields(Certificate)}
        if not isinstance(plain, Mapping) or set(plain) != names:
            got = sorted(map(str, plain))[:12] if isinstance(plain, Mapping) else type(plain).__name__
            raise ValueError(f"a certificate has the keys {', '.join(sorted(names))}; got {got}.")
        level, rows, units = plain["level"], plain["rows"], plain["units"]
        if not _is_number(level) or not 0 < level < 1 or not _is_count(rows) or not _is_count(units):
            raise ValueError(
                f"a certificate has a level in (0, 1) and numbers of rows and units of at least 1; got {level!r:.40}, "
                f"{rows!r:.40} and {units!r:.40}."
            )
        return Certificate(
            level=level,
            rows=rows,
            split=str(plain["split"])[:10],
            units=units,
            imputers=tuple(str(name)[:40] for name in plain["imputers"]),
            strongest=_part(Bound, plain["strongest"]),
            regions=_part(Bound, plain["regions"]),
            answers=_part(Answers, plain["answers"]),
        )

    def lines(self) -> list[tuple[str, str]]:
        """What each bound says, as (name, text)."""
        share, rows = f"{self.level:.0%} of inputs", f"{self.rows:,} {SPLIT_NAMES.get(self.split, self.split)} rows"
        said = []
        for name, bound in (
            (f"removal of the {self.units} strongest units", self.strongest),
            ("removal of a random part", self.regions),
        ):
            if bound is not None:
                said.append(
                    (
                        name,
                        f"measured within ±{bound.width:.3g} of what contributions say for {share}; the same "
                        f"prediction for all inputs: ±{bound.constant:.3g}; median change {bound.typical:.3g} "
                        f"({rows})",
                    )
                )
        if self.answers is not None and self.answers.size is None:
            said.append(("covered values", f"within ±{self.answers.threshold:.3g} for {share} ({rows})"))
        elif self.answers is not None:
            text = f"{self.answers.size:.2f} classes on average contain the right one for {share} ({rows})"
            said.append(("covered classes", text))
        return said


SPLIT_NAMES = {"val": "validation", "test": "test"}


def _part(kind: type[Any], plain: Any) -> Any:
    """A bound or answers; None for None."""
    if plain is None:
        return None
    names = [one.name for one in fields(kind)]
    if not isinstance(plain, Mapping) or set(plain) != set(names):
        raise ValueError(f"a part of a certificate has the keys {', '.join(names)}; got {plain!r:.80}.")
    values = {name: plain[name] for name in names}
    if wrong := [n for n, v in values.items() if not (_is_number(v) and v >= 0) and not (n == "size" and v is None)]:
        raise ValueError(f"{', '.join(wrong)} of a certificate must be finite and at least 0; got {plain!r:.80}.")
    return kind(**values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
