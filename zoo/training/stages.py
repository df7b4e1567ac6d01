"""A training recipe is a list of stages: plain data, read by pure functions of the epoch.

Because everything a stage decides follows from the epoch number alone, a resumed run takes the same
decisions as an uninterrupted one, and every rank of a distributed run takes the same decisions as every other.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from zoo.utils.errors import did_you_mean


@dataclass(frozen=True)
class Stage:
    """One part of a recipe: some epochs of training for some parameter groups, or an action."""

    name: str
    """What the stage is called in logs and messages; for an action, the model's method to run."""
    epochs: int = 0
    """How long it lasts. 0 makes it an action (`push`, `prune`), run once at the start of the stage that follows."""
    train: tuple[str, ...] | None = None
    """The parameter groups that learn; every other group is frozen. An empty list makes an epoch that only measures."""
    lr: dict[str, float] = field(default_factory=dict)
    """Learning rates of this stage by group; a group that is not named keeps the recipe's own."""
    decay_every: int = 0
    """Multiply the learning rates by `decay` every so many epochs of this stage; 0 means never."""
    decay: float = 0.1
    """The factor of that decay, in (0, 1]."""
    cosine: bool = False
    """Let the learning rates fall from their value to 0 along half a cosine, epoch by epoch, over this stage."""
    masked: bool = False
    """Train the backbone on randomly masked inputs (Sum-of-Parts)."""
    anneal: bool = False
    """Let the density of weights (weight-sparse transformers) or the temperature of choices (NODE-GAM) fall from 1 to
    its target by the end of this stage, or the weight of the divergence rise from 0 to 1 (topic models)."""
    each_epoch: tuple[str, ...] = ()
    """Actions to run before every epoch of this stage: with [push], prototypes start each epoch as training patches."""

    per_class: int = 0
    """Of an action: leave each class at most so many weights of the linear head, see `zoo.training.sparse_head`."""
    non_negative: bool = False
    """Of such an action: no weight below 0."""

    @property
    def trained(self) -> tuple[str, ...]:
        """The parameter groups that learn; none of an action."""
        return tuple(self.train or ())

    @property
    def is_action(self) -> bool:
        """Whether the stage has no epochs, and so names a method of the model to run."""
        return self.epochs == 0

    def lr_factor(self, epoch: int) -> float:
        """What the learning rates are multiplied with in the stage's `epoch`-th epoch, counted from 0."""
        if self.cosine:
            return 0.5 * (1 + math.cos(math.pi * min((epoch + 0.5) / self.epochs, 1.0)))
        return self.decay ** (epoch // self.decay_every) if self.decay_every else 1.0


@dataclass(frozen=True)
class Position:
    """Where an epoch lies in a recipe: its stage, the epoch within it, and the actions due before it."""

    stage: Stage
    epoch: int
    actions: tuple[Stage, ...]


def parse_stages(recipe: Iterable[Stage | Mapping[str, Any]]) -> tuple[Stage, ...]:
    """Reads a recipe from plain data and checks it as far as that is possible without the model.

    Raises:
        ValueError: an unknown key, a stage without a name, a negative number of epochs, an epoch stage that
            does not say what it trains, an empty recipe, or one that ends with an action.
    """
    stages = tuple(_check_stage(_read_stage(entry)) for entry in recipe)
    if not stages:
        raise ValueError(
            "the recipe has no stages; give at least one with epochs, such as {name: train, epochs: 10, train: [head]}."
        )
    if stages[-1].is_action:
        raise ValueError(
            f"the recipe ends in the action '{stages[-1].name}', which would never run: an action runs at the start "
            "of the stage after it. Add a stage with epochs, such as {name: last, epochs: 5, train: [head]}, or "
            "{name: measure, epochs: 1, train: []}."
        )
    return stages


def _read_stage(entry: Stage | Mapping[str, Any]) -> Stage:
    if isinstance(entry, Stage):
        entry = {f.name: getattr(entry, f.name) for f in fields(Stage)}  # a copy: stages are told apart by identity
    if not isinstance(entry, Mapping):
        raise ValueError(f"a stage is a mapping such as {{name: push}}; got {entry!r}.")
    known = [f.name for f in fields(Stage)]
    for key in entry:
        if key not in known:
            raise ValueError(f"a stage has no key '{key}'; {did_you_mean(key, known)}")
    if not entry.get("name"):
        raise ValueError(f"every stage needs a name; got {dict(entry)}.")
    train = entry.get("train") or ()
    if isinstance(train, str):
        raise ValueError(f"stage '{entry['name']}' must list its parameter groups, such as [{train}]; got '{train}'.")
    if entry.get("epochs") and entry.get("train") is None:
        raise ValueError(
            f"stage '{entry['name']}' lasts {entry['epochs']} epochs but trains no parameter group; name some under "
            "'train', or write train: [] for an epoch that only measures."
        )
    each = entry.get("each_epoch") or ()
    if isinstance(each, str):
        raise ValueError(
            f"stage '{entry['name']}' must list the actions of each epoch, such as [{each}]; got '{each}'."
        )
    return Stage(**{**entry, "train": tuple(train), "each_epoch": tuple(each), "lr": dict(entry.get("lr") or {})})


def _check_stage(entry: Stage) -> Stage:
    if not isinstance(entry.epochs, int) or entry.epochs < 0:
        raise ValueError(
            f"stage '{entry.name}' has epochs={entry.epochs!r}; expected a whole number from 0 (an action) upwards."
        )
    if entry.decay_every < 0 or not 0 < entry.decay <= 1:
        raise ValueError(
            f"stage '{entry.name}' has decay_every={entry.decay_every}, decay={entry.decay}; expected "
            "decay_every >= 0 and 0 < decay <= 1."
        )
    if entry.cosine and entry.decay_every:
        raise ValueError(f"stage '{entry.name}' has both cosine and decay_every; give one of them.")
    if entry.per_class < 0 or (entry.per_class and not entry.is_action):
        raise ValueError(
            f"stage '{entry.name}' has per_class={entry.per_class}, epochs={entry.epochs}; per_class is a number of "
            "weights, at least 1, of an action, which has no epochs."
        )
    if entry.is_action and (entry.trained or entry.lr):
        raise ValueError(
            f"stage '{entry.name}' has no epochs, so it is an action and cannot train {list(entry.trained)}; "
            "give it epochs."
        )
    if entry.is_action and entry.each_epoch:
        raise ValueError(f"stage '{entry.name}' has each_epoch but no epochs; give it epochs.")
    return entry


def check_groups(stages: Sequence[Stage], groups: Iterable[str], model: str) -> None:
    """Checks that a recipe names only the parameter groups that a model has.

    Raises:
        ValueError: a stage trains, or sets the learning rate of, a group that `model` does not have.
    """
    groups = list(groups)
    for stage in stages:
        for name in (*stage.trained, *stage.lr):
            if name not in groups:
                raise ValueError(
                    f"stage '{stage.name}' trains '{name}', which is not a parameter group of {model}; groups: "
                    f"{', '.join(groups)}."
                )


def total_epochs(stages: Iterable[Stage]) -> int:
    """How many epochs a recipe lasts."""
    return sum(stage.epochs for stage in stages)


def stage_at(stages: Sequence[Stage], epoch: int) -> Position:
    """The stage that epoch number `epoch` (from 0) belongs to; past the end, the last one goes on."""
    actions: list[Stage] = []
    for stage in stages:
        if stage.is_action:
            actions.append(stage)
        elif epoch < stage.epochs or stage is stages[-1]:
            each = [Stage(name) for name in stage.each_epoch]
            return Position(stage, epoch, (*(actions if epoch == 0 else ()), *each))
        else:
            epoch -= stage.epochs
            actions = []
    raise ValueError("a recipe ends with a stage that has epochs; read it with parse_stages.")


def with_epochs(stages: Sequence[Stage], epochs: int) -> tuple[Stage, ...]:
    """The stages with another total of training epochs, in the same proportion; each that trains has one or more.

    Stages that train nothing keep their epochs.

    Raises:
        ValueError: epochs below 1.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be 1 or more; got {epochs}.")
    share = epochs / max(sum(stage.epochs for stage in stages if stage.trained), 1)
    return tuple(replace(s, epochs=max(round(s.epochs * share), 1)) if s.trained and s.epochs else s for s in stages)
