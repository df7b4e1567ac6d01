"""What all models share whose prototypes are patches of training images once they were pushed."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.core.evidence import Unit
from zoo.prototypes.layers.grid import grid_of
from zoo.prototypes.layers.projection import nearest_patches
from zoo.prototypes.layers.provenance import Provenance
from zoo.prototypes.layers.removal import Forbidding
from zoo.training.projection_set import ProjectionSet
from zoo.training.stages import Stage


class Pushed(Forbidding):
    """Prototypes that explain only when they are patches of training images.

    A model calls `start_prototypes`, and defines `embed` (images to patches (B, D, h, w)), `vectors` (prototypes (P, D)
    as patches are compared with them), `similarity` (of squared distances) and `describe`. Its action `push` calls
    `project`.

    Attributes:
        after_push: parameter groups that may learn without a further push.
    """

    after_push: ClassVar[tuple[str, ...]] = ()
    backbone: nn.Module
    provenance: Provenance
    pushed: Tensor

    def start_prototypes(self, count: int, channels: int, thumbnail: int) -> None:
        """Sources of `count` prototypes, none of which is known, and which of them are alive: all."""
        self.start_alive(count)
        self.register_buffer("pushed", torch.tensor(False))
        self.provenance = Provenance(count, channels, thumbnail)
        self._units: tuple[tuple[int, ...], tuple[Unit, ...]] | None = None

    def embed(self, x: Tensor) -> Tensor:
        """Images as patches (B, D, h, w)."""
        raise NotImplementedError("a model defines embed()")

    def vectors(self) -> Tensor:
        """The prototypes (P, D) as patches are compared with them."""
        raise NotImplementedError("a model defines vectors()")

    def similarity(self, distances: Tensor) -> Tensor:
        """Of squared distances."""
        raise NotImplementedError("a model defines similarity()")

    def describe(self, prototype: int) -> tuple[str, int | None]:
        """Name of a prototype, and the class that it belongs to, if to one."""
        raise NotImplementedError("a model defines describe()")

    def project(
        self, projection_set: ProjectionSet, per_class: int | None = None, users: Tensor | None = None
    ) -> Tensor:
        """The nearest patches (P, D) of training images, whose sources are noted.

        Args:
            projection_set: the training set.
            per_class: how many prototypes each class has, one class after another; None if classes share them.
            users: (C, P) bool, which classes use which shared prototypes; see `nearest_patches`.
        """
        vectors = self.vectors()
        own = vectors if per_class is None else vectors.unflatten(0, (-1, per_class))
        found = nearest_patches(own, projection_set, self.embed, users, per_class or 1)
        if projection_set.rank == 0:
            self.provenance.record(found, projection_set, self.domain, self._map_of)  # pyright: ignore[reportArgumentType]
        self.pushed.fill_(True)
        return found.vector

    def _map_of(self, x: Tensor, prototype: Tensor) -> Tensor:
        difference = self.embed(x).float() - self.vectors()[prototype][:, :, None, None]
        return self.similarity(difference.square().sum(1))

    def units(self) -> tuple[Unit, ...]:
        state = (self.provenance.name._version, self.alive._version)  # rebuilt only after a push, a prune or a load
        if self._units is None or self._units[0] != state:
            pictures, alive = self.provenance.picture.cpu(), self.alive.tolist()
            units = []
            for j, source in enumerate(self.provenance.sources()):
                name, target = self.describe(j)
                source = source if alive[j] else {**source, "pruned": True}
                units.append(Unit(name, "prototype", target, source, pictures[j] if source else None))
            self._units = state, tuple(units)
        return self._units[1]

    def require_ready(self) -> None:
        if not self.pushed:
            raise RuntimeError(
                "these prototypes are not patches of training images (yet), so 'this looks like that' would not be "
                f"true: train with a recipe that ends in push and {self._rest()}, or call push()."
            )

    def check_recipe(self) -> None:
        grid_of(self.backbone, self.domain, type(self).__name__)  # pyright: ignore[reportArgumentType]
        last = max((i for i, s in enumerate(self.stages) if set(s.trained) - set(self.after_push)), default=-1)
        if not any(stage.name == "push" for stage in self.stages[last + 1 :]):
            last_stage = "its last stage that trains more than the head" if self.after_push else "its last training"
            raise ValueError(
                f"the recipe leaves prototypes that are no patches of training images: after {last_stage}, add "
                f"{{name: push}} and {self._rest()}."
            )

    def _rest(self) -> str:
        return "a stage that trains the head alone" if self.after_push else "{name: measure, epochs: 1, train: []}"

    def on_stage_start(self, stage: Stage) -> None:
        if set(stage.trained) - set(self.after_push):  # patches move away from where the prototypes were taken
            self.pushed.fill_(False)
