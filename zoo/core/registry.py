"""The models of the zoo by name: `@register` on a class, then `create_model("protopnet", ...)`.

A model of the zoo is one file in its family's folder, named after its key: `zoo/prototypes/protopnet.py` holds the
model "protopnet". What the registry says about a model is read from that file without importing it, so that listing all
models needs neither torch nor any family, and loading one model imports no other.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from zoo.utils.errors import did_you_mean

FAMILIES = (
    "additive",
    "circuits",
    "concepts",
    "graphs",
    "parts",
    "policies",
    "prototypes",
    "selectors",
    "sequences",
)  # folders of models
T = TypeVar("T", bound=type)


@dataclass(frozen=True)
class Small:
    """The small, fast configuration on which the contract suite tests a model.

    The suite supplies domain, data and, if the constructor has a `backbone`, a tiny one; it runs the actions of the
    recipe (`push`, `gather`, ...), so that the model is ready to explain.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    """Constructor arguments."""
    on: str | None = None
    """The modality to test on; by default the first that the model reads."""
    classes: int = 3
    """Number of classes of the domain, 2 or 3."""
    task: str = "classification"
    """Of the domain: "classification", "regression" with as many values, or "restoration" of images."""
    inputs: str = "random"
    """What is explained: "random" inputs, "training" inputs, or "halves", each made of two training images."""
    scale: Mapping[str, float] = field(default_factory=dict)
    """Factors of parameters, so that evidence differs enough between inputs not to depend on rounding."""
    draw: Mapping[str, float] = field(default_factory=dict)
    """Standard deviations of parameters that are drawn anew, for those that start at a constant."""
    variants: Mapping[str, "Small"] = field(default_factory=dict)
    """Further configurations by name; what they leave out is taken from this one."""


@dataclass(frozen=True)
class Entry:
    """What the registry knows about a model.

    Attributes:
        name: key, as in `create_model(name)` and in checkpoints.
        family: the folder it lives in; "own" for a model outside of the zoo.
        modality: what it reads, such as ("image", "text").
        paper: authors, venue and year.
        summary: first line of the class's docstring.
        module: where the class is defined.
        class_name: its name there.
    """

    name: str
    family: str
    modality: tuple[str, ...]
    paper: str
    summary: str
    module: str
    class_name: str

    @property
    def cls(self) -> type[Any]:
        """The class; imports its file, if that has not happened yet."""
        return _classes.get(self.name) or getattr(import_module(self.module), self.class_name)


_entries: dict[str, Entry] = {}  # models whose class is imported
_classes: dict[str, type[Any]] = {}
_small: dict[str, Small] = {}


def register(name: str, *, modality: str | tuple[str, ...], paper: str, small: Small | None = None) -> Callable[[T], T]:
    """Class decorator that enters a model under `name`.

    Args:
        name: lower-case key, as in `create_model(name)` and in checkpoints; in the zoo, the name of the model's file.
        modality: what the model reads ("image", "text", "series", "table", "graph", "code"), one or several.
        paper: authors, venue and year.
        small: the configuration that the contract suite tests.

    Raises:
        ValueError: the name is taken by another class.
    """

    def enter(cls: T) -> T:
        known = find(name) if name in _entries or _file(name) else None
        if known and (known.module, known.class_name) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"the model name '{name}' is taken by {known.class_name}; give {cls.__name__} another.")
        parts = cls.__module__.split(".")
        family = parts[1] if parts[0] == "zoo" and len(parts) > 1 else "own"
        kinds = (modality,) if isinstance(modality, str) else modality
        summary = (cls.__doc__ or "").strip().split("\n")[0]
        _entries[name] = Entry(name, family, kinds, paper, summary, cls.__module__, cls.__qualname__)
        _classes[name], _small[name] = cls, small or Small()
        return cls

    return enter


def entries(pattern: str = "*", *, family: str | None = None) -> tuple[Entry, ...]:
    """The registered models whose name fits the wildcard `pattern`, ordered by family and name."""
    chosen = (e for e in (_index() | _entries).values() if fnmatch(e.name, pattern) and family in (None, e.family))
    return tuple(sorted(chosen, key=lambda e: (e.family, e.name)))


def find(name: str) -> Entry:
    """The entry of a model.

    Raises:
        ValueError: no model has that name; the message names the nearest one.
    """
    if name in _entries:
        return _entries[name]
    if path := _file(name):
        entry = _read(path)
        if entry is not None and entry.name == name:
            return entry
    known = _index() | _entries
    if name not in known:
        every = f"(`python train.py list models` shows all {len(known)})"
        raise ValueError(f"no model named '{name}'; {did_you_mean(name, known)} {every}")
    return known[name]


def name_of(cls: type[Any]) -> str:
    """The name under which a class is registered.

    Raises:
        ValueError: it is not registered.
    """
    for name, known in _classes.items():
        if known is cls:
            return name
    raise ValueError(
        f"{cls.__name__} is not a registered model; decorate it with @register(name, modality=..., paper=...)."
    )


def small_of(name: str) -> Small:
    """The small configuration of a model, see `Small`."""
    assert find(name).cls
    return _small[name]


def create_model(name: str, **arguments: Any) -> Any:
    """Builds a registered model; `arguments` go to its constructor."""
    return find(name).cls(**arguments)


def list_models(pattern: str = "*", *, family: str | None = None) -> list[str]:
    """Names of the registered models that fit a wildcard, ordered by family and name."""
    return [entry.name for entry in entries(pattern, family=family)]


def classes_of(family: str) -> dict[str, str]:
    """Class name -> module of the models in a family of the zoo."""
    return {entry.class_name: entry.module for entry in _index().values() if entry.family == family}


def _file(name: str) -> Path | None:
    """The file of a model of the zoo."""
    if not name.isidentifier():
        return None
    return next((p for family in FAMILIES if (p := _folder(family) / f"{name}.py").is_file()), None)


def _folder(family: str) -> Path:
    return Path(__file__).resolve().parents[1] / family


@cache
def _index() -> dict[str, Entry]:
    """The models of the zoo, read from their files."""
    files = [path for family in FAMILIES for path in sorted(_folder(family).glob("*.py"))]
    return {entry.name: entry for path in files if (entry := _read(path)) is not None}


@cache
def _read(path: Path) -> Entry | None:
    """The entry that the `@register` in a file makes; None for a file without one."""
    classes = (n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.ClassDef))
    for node in classes:
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "register":
                given = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg in ("modality", "paper")}
                name, modality = ast.literal_eval(call.args[0]), given["modality"]
                kinds = (modality,) if isinstance(modality, str) else tuple(modality)
                summary = (ast.get_docstring(node) or "").split("\n")[0]
                module = f"zoo.{path.parent.name}.{path.stem}"
                return Entry(name, path.parent.name, kinds, given["paper"], summary, module, node.name)
    return None
