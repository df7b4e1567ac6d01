"""What a training step gets: a batch as a mapping."""

from collections.abc import Mapping, Sequence
from typing import Any

Batch = Mapping[str, Any]


def as_batch(batch: Any) -> Batch:
    """A batch as a mapping with "input" and "target"; accepts (input, target) pairs as well.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(batch, Mapping) and {"input", "target"} <= set(batch):
        return batch
    if isinstance(batch, Sequence) and len(batch) == 2:
        return {"input": batch[0], "target": batch[1]}
    found = f"keys {sorted(batch)}" if isinstance(batch, Mapping) else type(batch).__name__
    raise TypeError(f"a batch must be a dict with 'input' and 'target', or an (input, target) pair; got {found}.")
