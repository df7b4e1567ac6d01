"""Numbers in files given by the user."""

import math

LARGEST = 3.4028234663852886e38  # of 32-bit floats


def to_float(value: float | str | None) -> float:
    """A number, or the text of one, as a float that is finite in 32 bits too.

    Raises:
        ValueError: it is not such a number; the message begins with "must", to be preceded by the name of the value.
    """
    try:
        number = math.nan if value is None else float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"must be a finite number; got {value!r:.80}")
    if abs(number) > LARGEST:
        raise ValueError(f"must be within the range of 32-bit floats, 3.4e38; got {value!r:.80}")
    return number
