"""The models of the zoo by name: `@register` on a class, then `create_model("protopnet", ...)`."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import import_module
from typing import Any, TypeVar

from zoo.utils.errors import did_you_mean

T = TypeVar("T", bound=type)


@dataclass(frozen=True)
class Entry:
    """What the registry knows of a model."""

    name: str
    cls: type
    family: str
    modality: tuple[str, ...]
    paper: str


_entries: dict[str, Entry] = {}


def register(name: str, *, family: str, modality: str | tuple[str, ...], paper: str) -> Callable[[T], T]:
    """Class decorator that enters a model under `name`.

    Args:
        name: lower-case key, as in `create_model(name)` and in checkpoints.
        family: the folder it lives in ("prototypes", "concepts", ...).
        modality: what it reads ("image", "text", "series", "table"), one or several.
        paper: authors, title or short name, venue and year.

    Raises:
        ValueError: the name is taken by another class.
    """

    def enter(cls: T) -> T:
        if name in _entries:
            raise ValueError(
                f"the model name '{name}' is taken by {_entries[name].cls.__name__}; give {cls.__name__} another."
            )
        kinds = (modality,) if isinstance(modality, str) else modality
        _entries[name] = Entry(name, cls, family, kinds, paper)
        return cls

    return enter


def _all() -> dict[str, Entry]:
    import_module("zoo.api")  # the models enter themselves; not before, because their files import this one
    return _entries


def entries(pattern: str = "*", *, family: str | None = None) -> tuple[Entry, ...]:
    """The registered models whose name fits the wildcard `pattern`, in order of family and name."""
    chosen = (e for e in _all().values() if fnmatch(e.name, pattern) and family in (None, e.family))
    return tuple(sorted(chosen, key=lambda e: (e.family, e.name)))


def find(name: str) -> Entry:
    """The entry of a model.

    Raises:
        ValueError: no model has that name; the message says which was probably meant.
    """
    known = _all()
    if name not in known:
        every = f"(`python train.py list models` shows all {len(known)})"
        raise ValueError(f"no model named '{name}'; {did_you_mean(name, known)} {every}")
    return known[name]


def name_of(cls: type) -> str:
    """The name under which a class is registered.

    Raises:
        ValueError: it is not.
    """
    for entry in _entries.values():
        if entry.cls is cls:
            return entry.name
    raise ValueError(
        f"{cls.__name__} is not a registered model; decorate it with @register(name, family=..., "
        "modality=..., paper=...)."
    )


def create_model(name: str, **arguments: Any) -> Any:
    """Builds a registered model; `arguments` go to its constructor."""
    return find(name).cls(**arguments)


def list_models(pattern: str = "*", *, family: str | None = None) -> list[str]:
    """Names of the registered models that fit a wildcard, in order of family and name."""
    return [entry.name for entry in entries(pattern, family=family)]
