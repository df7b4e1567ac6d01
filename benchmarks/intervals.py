"""95 % intervals of means over training seeds, by Student's t."""

import statistics
from collections.abc import Sequence

QUANTILES = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # 97.5 % of Student's t for so many values


def half_width(values: Sequence[float]) -> float:
    """Half of the width of the 95 % interval of the mean of 2 to 5 values.

    Raises:
        ValueError: another number of values.
    """
    if len(values) not in QUANTILES:
        raise ValueError(f"expected 2 to 5 values, one for each training seed; got {len(values)}.")
    return QUANTILES[len(values)] * statistics.stdev(values) / len(values) ** 0.5
