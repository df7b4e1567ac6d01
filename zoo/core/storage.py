"""How the weights of a checkpoint are stored, and how much that changes: plain data that a checkpoint keeps.

`zoo.utils.small_tensors` rounds the weights; `zoo.metrics.storage_effect` measures what rounding changes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from typing import Any

from zoo.utils.small_tensors import FORMS

SPLIT_NAMES = {"val": "validation", "test": "test"}


@dataclass(frozen=True)
class Effect:
    """What rounded weights change on some rows.

    Attributes:
        rows: number of rows.
        split: which rows, "val" or "test".
        metric: what `before` and `after` are: "accuracy", "accuracy of tags" or "r2".
        before: metric with weights in float32.
        after: metric with rounded weights.
        answers: share of the rows whose answer stays, in [0, 1]; None for values.
        change: largest change of a contribution to the answer with weights in float32, over rows and units; of models
            that are not additive, of the score.
        typical: median over rows of the largest |contribution| (or |score|), to compare `change` with.
        gap: largest |score - bias - sum of contributions| with rounded weights; None if the model is not additive.
    """

    rows: int
    split: str
    metric: str
    before: float
    after: float
    answers: float | None
    change: float
    typical: float
    gap: float | None


@dataclass(frozen=True)
class Storage:
    """How weights are stored.

    Attributes:
        form: one of `FORMS`.
        bytes_before: of the model's own tensors with weights in float32.
        bytes_after: of the same as they are stored.
        effect: None if it was not measured.
    """

    form: str
    bytes_before: int
    bytes_after: int
    effect: Effect | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` reads it."""
        return asdict(self)

    @staticmethod
    def from_dict(plain: Any) -> "Storage":
        """Reads what `to_dict` returned.

        Raises:
            ValueError: a key is missing or unknown, or a value is out of range.
        """
        _check_keys(plain, Storage)
        check_form(plain["form"])
        if not all(type(plain[key]) is int and plain[key] >= 0 for key in ("bytes_before", "bytes_after")):
            raise ValueError(f"numbers of bytes of stored weights must be integers of at least 0; got {plain!r:.200}.")
        effect = plain["effect"]
        return replace(Storage(**plain), effect=None if effect is None else _effect(effect))

    def lines(self) -> list[tuple[str, str]]:
        """What a model card says, as (name, text)."""
        sizes = f"{megabytes(self.bytes_after)} instead of {megabytes(self.bytes_before)} in float32"
        said = [(f"weights stored as {self.form}", sizes)]
        if (found := self.effect) is None:
            return [*said, ("effect of the storage", "not measured")]
        rows = f"{found.rows:,} {SPLIT_NAMES.get(found.split, found.split)} rows"
        kept = "" if found.answers is None else f"; {found.answers:.2%} of the answers stay"
        said.append(
            (f"{found.metric}, float32 and {self.form}", f"{found.before:.4f} and {found.after:.4f}{kept} ({rows})")
        )
        what = "score" if found.gap is None else "contribution"
        said.append(
            (
                f"largest change of a {what} by {self.form}",
                f"{found.change:.3g}; the median of the largest in a row is {found.typical:.3g} ({rows})",
            )
        )
        if found.gap is not None:
            said.append((f"largest completeness gap as {self.form}", f"{found.gap:.2g} ({rows})"))
        return said

    @property
    def sentence(self) -> str:
        """What an explanation says of it."""
        if (found := self.effect) is None:
            return f"Weights are stored as {self.form}; what that changes was not measured."
        what = "score" if found.gap is None else "contribution"
        return (
            f"Weights are stored as {self.form}: on {found.rows:,} {SPLIT_NAMES.get(found.split, found.split)} rows no "
            f"{what} changed by more than {found.change:.2g} (the largest of a row is {found.typical:.2g}), and "
            f"{found.metric} from {found.before:.4f} to {found.after:.4f}."
        )


def check_form(form: Any) -> None:
    """Refuses what is not one of `FORMS`.

    Raises:
        ValueError: names them.
    """
    if form not in FORMS:
        raise ValueError(f"weights can be stored as {', '.join(FORMS)}; got {form!r:.40}.")


def megabytes(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _effect(plain: Any) -> Effect:
    _check_keys(plain, Effect)
    found = Effect(**plain)
    numbers = (found.rows, found.before, found.after, found.change, found.typical)
    optional = [value for value in (found.answers, found.gap) if value is not None]
    if not all(_is_number(value) for value in (*numbers, *optional)) or found.rows < 1:
        raise ValueError(f"the effect of stored weights needs finite numbers, of at least one row; got {plain!r:.300}.")
    return replace(found, split=str(found.split)[:10], metric=str(found.metric)[:40])


def _check_keys(plain: Any, kind: type[Any]) -> None:
    names = {one.name for one in fields(kind)}
    if not isinstance(plain, Mapping) or set(plain) != names:
        got = sorted(map(str, plain))[:12] if isinstance(plain, Mapping) else type(plain).__name__
        raise ValueError(f"what describes stored weights has the keys {', '.join(sorted(names))}; got {got}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
