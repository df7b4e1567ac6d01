"""Constructor arguments as plain data, as checkpoints keep them."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from zoo.domain import Domain


def plain(value: Any) -> Any:
    """Constructor arguments as plain data, so that a checkpoint holds no classes."""
    if isinstance(value, Domain):
        return value.to_dict()
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value
