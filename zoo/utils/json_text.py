"""JSON as all files of the library have it: valid for every reader, whatever numbers and names it holds."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any


def to_json(value: Any, indent: int | None = None) -> str:
    r"""Plain data as JSON on one line, or indented; a byte of a file name that is not UTF-8 is kept as an escape.

    Raises:
        ValueError: a number is NaN or infinite, which JSON cannot express; the message says where.
        TypeError: not plain data.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    except ValueError:
        for place, number in _not_finite(value, ""):
            raise ValueError(
                f"{place} is {number}, a number that JSON cannot express; look for extreme values."
            ) from None
        raise
    return text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate becomes \udcff, which JSON reads back


def _not_finite(value: Any, place: str) -> Iterator[tuple[str, float]]:
    """Where plain data have numbers that are NaN or infinite, such as "evidence[2].chance"."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place or "the value", value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from _not_finite(inner, f"{place}[{i}]")


def without_nan(value: Any) -> Any:
    """The same data with None in place of numbers that are NaN or infinite, for results that may be undefined."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: without_nan(inner) for key, inner in value.items()}
    return [without_nan(inner) for inner in value] if isinstance(value, list | tuple) else value
