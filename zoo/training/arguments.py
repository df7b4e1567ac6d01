"""Constructor arguments as plain data, as checkpoints keep them."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from zoo.domain import Domain
from zoo.utils.errors import ContractError


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


def argument_names(cls: type) -> list[str]:
    """Names of the constructor's arguments."""
    return list(inspect.signature(cls.__init__).parameters)[1:]


def kept_arguments(cls: type, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments, from those that the model kept.

    Raises:
        ContractError: some were not kept.
    """
    if missing := [name for name in argument_names(cls) if name not in kept]:
        raise ContractError(
            f"{cls.__name__}.__init__() must call self.keep_arguments(locals()) right after super().__init__(domain, "
            f"recipe), so that a checkpoint can build it again; not kept: {', '.join(missing)}."
        )
    return {name: kept[name] for name in argument_names(cls)}
