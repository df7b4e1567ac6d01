"""Where two values of plain data differ, with a tolerance for numbers that another processor computes."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

ABSENT = "absent"
DECIMAL = re.compile(r"[-−+]?\d+[.,]\d+")  # a number as sentences print it
SPOKEN = ("sentence", "statement")  # texts that have rounded numbers in them
Found = tuple[str, Any, Any]


def differences(then: Mapping[str, Any], now: Mapping[str, Any], tolerance: float) -> list[Found]:
    """The places where two records of a decision differ, each with both values.

    Sentences must be equal if all numbers are; if some differ within the tolerance, the last digit of numbers in
    sentences may differ too.

    Args:
        then: as recorded.
        now: as computed again.
        tolerance: of numbers, absolute and relative.
    """
    close = any(
        _is_number(a) and _is_number(b) and math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
        for _, a, b in _compared(then, now, "", 0.0)
    )
    found = _compared(then, now, "", tolerance)
    return [one for one in found if not (close and one[0].endswith(SPOKEN) and _same_text(one[1], one[2], tolerance))]


def _compared(then: Any, now: Any, name: str, tolerance: float) -> Iterator[Found]:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in [*now, *(key for key in then if key not in now)]:
            place = f"{name}.{key}" if name else str(key)
            if key not in then or key not in now:
                yield place, then.get(key, ABSENT), now.get(key, ABSENT)
            else:
                yield from _compared(then[key], now[key], place, tolerance)
    elif isinstance(then, list | tuple) and isinstance(now, list | tuple):
        yield from _lists(list(then), list(now), name, tolerance)
    elif _is_number(then) and _is_number(now):
        if not math.isclose(then, now, rel_tol=tolerance, abs_tol=tolerance):
            yield name, then, now
    elif type(then) is not type(now) or then != now:
        yield name, then, now


def _lists(then: list[Any], now: list[Any], name: str, tolerance: float) -> Iterator[Found]:
    """Terms are compared by the name of their unit, because equal ones may change places; other lists by place."""
    names = [[one.get("unit") if isinstance(one, Mapping) else None for one in side] for side in (then, now)]
    if all(isinstance(unit, str) for side in names for unit in side) and len(set(names[0])) == len(then):
        sides = [dict(zip(units, side, strict=True)) for units, side in zip(names, (then, now), strict=True)]
        yield from _compared(sides[0], sides[1], name, tolerance)
    elif len(then) != len(now):
        yield name, f"{len(then)} values", f"{len(now)} values"
    else:
        for i, (one, other) in enumerate(zip(then, now, strict=True)):
            yield from _compared(one, other, f"{name}[{i}]", tolerance)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same_text(then: Any, now: Any, tolerance: float) -> bool:
    """Whether two texts differ in nothing but the last digit of numbers with decimals."""
    if not isinstance(then, str) or not isinstance(now, str) or DECIMAL.sub("#", then) != DECIMAL.sub("#", now):
        return False
    pairs = zip(DECIMAL.findall(then), DECIMAL.findall(now), strict=True)
    return all(abs(a - b) <= tolerance * max(1.0, abs(b)) + 1.001 * max(s, t) for (a, s), (b, t) in map(_read, pairs))


def _read(pair: tuple[str, str]) -> list[tuple[float, float]]:
    """Value and last digit of two numbers."""
    plain = [number.replace("−", "-").replace(",", ".") for number in pair]
    return [(float(number), 10.0 ** -len(number.partition(".")[2])) for number in plain]
