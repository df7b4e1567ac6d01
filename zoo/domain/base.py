"""The base class of domains: names of classes and concepts, checks of inputs, plain data."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from zoo.utils.errors import did_you_mean
from zoo.utils.paths import find_files

TASKS = ("classification", "multilabel", "regression")


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The meaning of a model's inputs and outputs; one subclass for each modality.

    Attributes:
        modality: name of the modality, such as "image".
        noun: what the inputs are called in messages, such as "images".
        endings: lower-case endings of the files that `read` accepts.
        quoted: whether an input may also be given as a text in quotes.
        classes: names of the scores' columns, in order: the classes, the tags, or the regression targets.
        concepts: names of the annotated concepts, if the data has any.
        concept_groups: concepts that belong together, by the name of their group; an intervention asks for all of them.
        exclusive: names of the groups of which exactly one concept is present (a categorical concept, one-hot).
        task: "classification" (one of the classes), "multilabel" (each tag is present or absent; a score is its logit)
            or "regression" (a value for each).

    Raises:
        ValueError: no classes, duplicate names, groups that do not fit the concepts, or an unknown task.
    """

    modality: ClassVar[str] = ""
    noun: ClassVar[str] = "inputs"
    endings: ClassVar[frozenset[str]] = frozenset()
    quoted: ClassVar[bool] = False
    classes: tuple[str, ...]
    concepts: tuple[str, ...] = ()
    concept_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exclusive: tuple[str, ...] = ()
    task: str = "classification"

    def __post_init__(self) -> None:
        for f in fields(self):  # YAML and JSON have lists only
            if isinstance(value := getattr(self, f.name), list):
                object.__setattr__(self, f.name, tuple(value))
        if not self.classes:
            raise ValueError("a domain needs at least one class name; got none.")
        for what, names in (("class", self.classes), ("concept", self.concepts)):
            if len(set(names)) < len(names):
                twice = Counter(names).most_common(1)[0][0]
                raise ValueError(f"{what} names must differ; '{twice}' occurs more than once.")
        object.__setattr__(self, "concept_groups", {g: tuple(c) for g, c in self.concept_groups.items()})
        self._check_groups()
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}; got '{self.task}'.")

    def _check_groups(self) -> None:
        grouped, known = Counter(n for members in self.concept_groups.values() for n in members), set(self.concepts)
        for group, members in self.concept_groups.items():
            if not members:
                raise ValueError(f"concept group '{group}' has no concepts; add some, or remove the group.")
            for name in members:
                if name not in known:
                    raise ValueError(f"concept group '{group}' names '{name}'; {did_you_mean(name, self.concepts)}")
                if grouped[name] > 1:
                    raise ValueError(f"concept '{name}' is in more than one concept group; keep it in one of them.")
        for group in self.exclusive:
            if group not in self.concept_groups:
                raise ValueError(
                    f"exclusive names '{group}', which is not a concept group; "
                    f"{did_you_mean(group, self.concept_groups)}"
                )

    def group_columns(self) -> dict[str, list[int]]:
        """Columns of each concept group; a concept without a group forms its own, under its own name."""
        column = {name: i for i, name in enumerate(self.concepts)}
        grouped = {name for members in self.concept_groups.values() for name in members}
        groups = {group: [column[name] for name in members] for group, members in self.concept_groups.items()}
        return groups | {name: [column[name]] for name in self.concepts if name not in grouped}

    @property
    def default_target(self) -> int:
        """Number of the value that is explained if none is asked for, of a domain of regression targets."""
        return 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input tensor, without the batch dimension."""
        raise NotImplementedError(f"{type(self).__name__} does not define shape")

    def check(self, x: Tensor, model: str) -> None:
        """Refuses a batch that `model` cannot read.

        Raises:
            TypeError: `x` is not a tensor of a floating-point type.
            ValueError: wrong rank, shape, an empty batch, or NaN or infinite values.
        """
        self.check_shape(x, model)
        if not x.is_floating_point():
            raise TypeError(
                f"{self._wanted(model)} of a floating-point type; got {x.dtype}. `domain.read(path)` converts a file."
            )
        # Testing the sum is 50 times as fast as testing each number; a sum that overflows is tested again.
        if not bool(torch.isfinite(x.sum())) and not bool(torch.isfinite(x).all()):
            rows = (~torch.isfinite(x)).flatten(1).any(1).nonzero().flatten().tolist()
            raise ValueError(
                f"{model} got NaN or infinite values in row {rows[0]} of the batch ({len(rows)} of {len(x)} "
                f"{self.noun}); clean the input first."
            )

    def check_shape(self, x: Tensor, model: str) -> None:
        """Refuses anything but a tensor of shape (B, *shape) with B >= 1.

        Raises:
            TypeError, ValueError: see `check`.
        """
        if not isinstance(x, Tensor):
            raise TypeError(f"{model} expects a tensor; got {type(x).__name__}. Read files with `domain.read(path)`.")
        wanted = self._wanted(model)
        if tuple(x.shape) == self.shape:
            raise ValueError(f"{wanted}; got {tuple(x.shape)}. Add a batch dimension: x[None].")
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"{wanted}; got {tuple(x.shape)}. `domain.read(path)` converts a file to this shape.")
        if len(x) == 0:
            raise ValueError(f"{wanted} with B >= 1; got an empty batch.")

    def _wanted(self, model: str) -> str:
        return f"{model} expects {self.noun} (B, {', '.join(map(str, self.shape))})"

    def preprocess(self, raw: Any, /) -> Tensor:
        """Converts one raw input, such as a text or a picture, to an input tensor, without batch dimension."""
        raise NotImplementedError(f"{type(self).__name__} does not define preprocess()")

    def rows(self, path: str | Path) -> list[Any]:
        """The inputs of a file with one per row, each as `preprocess` takes it; empty if the file is a single input.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file cannot be read.
        """
        return []

    def files(self, folder: Path) -> list[Path]:
        """All files below a folder that `read` accepts, sorted by path.

        Raises:
            OSError: a folder cannot be read.
        """
        return find_files(folder, self.endings)

    def raw(self, path: str | Path) -> Any:
        """Reads a file with one input into what `preprocess` takes.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file cannot be read.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define raw()")

    def read(self, path: str | Path) -> Tensor:
        """Reads a file into an input tensor, without batch dimension.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file cannot be read, or does not fit; names the file.
        """
        raw = self.raw(path)
        try:
            return self.preprocess(raw)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def warnings(self, raw: Any, x: Tensor) -> list[str]:
        """What makes the answer for an input doubtful, such as words that the model does not know, in sentences.

        Args:
            raw: the input as `preprocess` takes it.
            x: what `preprocess` made of it.
        """
        return []

    def example(self, count: int, generator: torch.Generator) -> Tensor:
        """Random inputs (count, *shape), to compare explanations on."""
        return torch.randn(count, *self.shape, generator=generator)

    def probabilities(self, scores: Tensor, space: str) -> Tensor | None:
        """(B, C) the probability of each class, or of each tag; None if scores (B, C) of this space have none.

        Args:
            scores: (B, C).
            space: what they are, such as "logit" or "probability".
        """
        if self.task == "regression" or space not in ("logit", "probability"):
            return None
        if space == "probability":
            return scores
        return scores.sigmoid() if self.task == "multilabel" else scores.softmax(1)

    def class_index(self, target: int | str) -> int:
        """Column of a class, given by name or number.

        Raises:
            ValueError: there is no such class; the message names the nearest one or the valid range.
        """
        if isinstance(target, str):
            if target not in self.classes:
                raise ValueError(f"no class named '{target}'; {did_you_mean(target, self.classes)}")
            return self.classes.index(target)
        if not 0 <= target < len(self.classes):
            raise ValueError(
                f"target {target} is out of range; there are {len(self.classes)} classes, 0 to {len(self.classes) - 1}."
            )
        return int(target)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, from which `from_dict` builds an equal domain."""
        return {"modality": self.modality, **{k: _plain(v) for k, v in asdict(self).items()}}

    @staticmethod
    def from_dict(plain: "Mapping[str, Any] | Domain") -> "Domain":
        """Builds the domain that `to_dict` described; returns a `Domain` as it is.

        Raises:
            ValueError: unknown modality or key.
        """
        if isinstance(plain, Domain):
            return plain
        kinds = {kind.modality: kind for kind in Domain.__subclasses__()}
        arguments = dict(plain)
        modality = arguments.pop("modality", None)
        if modality not in kinds:
            raise ValueError(f"unknown modality {modality!r} of a domain; known: {', '.join(kinds)}.")
        known = [f.name for f in fields(kinds[modality])]
        for key in arguments:
            if key not in known:
                raise ValueError(f"a domain of {modality}s has no key '{key}'; {did_you_mean(key, known)}")
        return kinds[modality](**arguments)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
