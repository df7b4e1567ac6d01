"""Prototypes that are compared with every patch of an image, and projected onto patches of training images."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Unit
from zoo.core.unit_cache import UnitCache
from zoo.domain import ImageDomain
from zoo.prototypes.layers.projection import nearest_patches, patch_features
from zoo.prototypes.layers.provenance import Provenance
from zoo.prototypes.layers.removal import remove
from zoo.prototypes.layers.similarity import Similarity
from zoo.training.projection_set import ProjectionSet
from zoo.training.push_rule import PushRule
from zoo.training.stages import Stage
from zoo.utils.functional import at_least_fp32, distances_at, squared_distances

Embed = Callable[[Tensor], Tensor]  # images (B, C, H, W) to patches (B, D, h, w)
Initialise = Callable[[Tensor], Tensor]  # draws a weight in place
kaiming_fan_out: Initialise = partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu")


class PrototypeLayer(nn.Module):
    """P prototypical patches, and the training patches that they were projected onto.

    Explanations of the form "this looks like that" are true only if every prototype is a patch of a training image;
    `project` makes it one, and training any group outside of `free` undoes that. With `follow`, the add-on may go on
    training: the prototypes then stay the patches that they are, and move with them.

    Parameter: `vectors` (P, D). Buffers: `alive` (P,) bool, False for prototypes that were pruned or removed, whose
    activation the model sets to 0 · `pushed`, whether all prototypes are training patches · `provenance`.

    Args:
        vectors: (P, D) to start from.
        similarity: what the model computes from squared distances.
        channels: of the images.
        thumbnail: side in pixels of the stored pictures.
        free: parameter groups that may train after the projection.
        following: whether the model calls `follow` at each epoch and `keep` after each step.
    """

    former_names: ClassVar[Mapping[str, str]] = {
        "prototypes": "prototypes.vectors",
        "alive": "prototypes.alive",
        "pushed": "prototypes.pushed",
        "provenance": "prototypes.provenance",
    }
    """Where the weights of a model that owns a layer `prototypes` lie in older checkpoints."""
    alive: Tensor
    pushed: Tensor

    def __init__(
        self,
        vectors: Tensor,
        similarity: Similarity,
        channels: int,
        thumbnail: int,
        free: Sequence[str] = (),
        following: bool = False,
    ) -> None:
        super().__init__()
        self.similarity, self.rule = similarity, PushRule("patches of training images", free)
        self.following = following
        self.vectors = nn.Parameter(vectors)
        self.register_buffer("alive", torch.ones(len(vectors), dtype=torch.bool))
        self.register_buffer("pushed", torch.tensor(False))
        self.provenance = Provenance(len(vectors), channels, thumbnail)
        self.features: tuple[Tensor, Tensor] | None = None  # which patches, and (P, C) of them; see `follow`
        self._units = UnitCache()

    # The computation

    def patches(self, z: Tensor) -> Tensor:
        """Maps (B, D, h, w) as they are compared with prototypes: of unit length where the similarity asks for it."""
        return F.normalize(at_least_fp32(z), dim=1) if self.similarity.unit_length else z

    def compared_vectors(self, moved: Tensor | None = None) -> Tensor:
        """The prototypes (P, D), or others in their place, as patches are compared with them."""
        vectors = self.vectors if moved is None else moved
        return F.normalize(vectors, dim=1) if self.similarity.unit_length else vectors

    def compare(self, patches: Tensor, exact: bool, moved: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Squared distances (B, P, h, w) of all patches to all prototypes, and the smallest of each prototype (B, P).

        Args:
            patches: (B, D, h, w), see `patches`.
            exact: recomputes the smallest distances as direct differences, because a logarithm or a root magnifies
                rounding where patches nearly agree, as a prototype does with its own patch.
            moved: (P, D) in place of the prototypes, see `moved`.
        """
        vectors = self.compared_vectors(moved)
        distances = squared_distances(patches, vectors)
        nearest, cell = distances.flatten(2).min(2)
        return distances, distances_at(patches, vectors, cell) if exact else nearest

    def support(self, distances: Tensor) -> Tensor:
        """Squared distances (B, P, h, w) as supports in [0, 1]; 0 for prototypes that are not alive."""
        return self.similarity.support(distances) * self.alive[:, None, None]

    # Training on patches

    def follows(self, stage: Stage) -> bool:
        """Whether a stage trains the add-on under prototypes that are training patches and stay them."""
        trained = set(stage.trained)
        return bool(self.pushed) and "addon" in trained and not trained & {"backbone", "prototypes"}

    def follow(self, stage: Stage, backbone: nn.Module, projection_set: Callable[[], ProjectionSet]) -> None:
        """Keeps the features of the prototypes' patches for a stage that `follows`; forgets them for others.

        Args:
            stage: that starts, or goes on after an interruption.
            backbone: what the add-on reads.
            projection_set: gives the training set of the last projection.
        """
        if not self.follows(stage):
            self.features = None
            return
        chosen = (self.alive & (self.provenance.index >= 0)).nonzero().flatten()
        at = torch.stack([chosen, self.provenance.index[chosen], self.provenance.cell[chosen]])
        if self.features is None or not torch.equal(at, self.features[0]):
            self.features = at, patch_features(backbone, projection_set(), at[1], at[2])

    def moved(self, addon: nn.Module) -> Tensor | None:
        """The prototypes (P, D) as the add-on now maps the features of their patches; None if they do not follow."""
        if self.features is None:
            return None
        (chosen, _, _), features = self.features
        return self.vectors.index_put((chosen,), addon(features[:, :, None, None]).flatten(1).to(self.vectors))

    @torch.no_grad()
    def keep(self, addon: nn.Module) -> None:
        """Stores the prototypes that moved with the step of an optimizer."""
        if (moved := self.moved(addon)) is not None:
            self.vectors.copy_(moved)

    # Projection

    def project(
        self,
        projection_set: ProjectionSet,
        domain: ImageDomain,
        embed: Embed,
        *,
        per_class: int | None = None,
        users: Tensor | None = None,
        boxes: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Replaces each prototype by the nearest patch of the training images, and stores where that patch is.

        Args:
            projection_set: the training set, this rank's share.
            domain: of the images.
            embed: images (B, C, H, W) to patches (B, D, h, w).
            per_class: how many prototypes each class has, one class after another, of whose images alone the patches
                are taken; None if classes share the prototypes.
            users: (C, P) bool, which classes use which shared prototypes, see `nearest_patches`.
            boxes: see `Provenance.record`.

        Raises:
            ValueError: a class has too few training images, see `nearest_patches`.
        """
        vectors = self.compared_vectors()
        own = vectors if per_class is None else vectors.unflatten(0, (-1, per_class))
        found = nearest_patches(own, projection_set, embed, users, per_class or 1)

        def similarity_map(x: Tensor, prototype: Tensor) -> Tensor:
            difference = at_least_fp32(embed(x)) - vectors[prototype][:, :, None, None]
            return self.similarity.of(difference.square().sum(1))

        if projection_set.rank == 0:  # its state is sent to all ranks
            self.provenance.record(found, projection_set, domain, similarity_map, boxes)
        self.vectors.copy_(found.vector)
        self.pushed.fill_(True)

    def require_pushed(self) -> None:
        """Refuses to explain with prototypes that are not training patches, see `PushRule.require`."""
        self.rule.require(bool(self.pushed))

    def check_recipe(self, stages: Sequence[Stage]) -> None:
        """Refuses a recipe after which they are not training patches, see `PushRule.check_recipe`."""
        self.rule.check_recipe(stages)

    def on_stage_start(self, stage: Stage) -> None:
        """Marks the prototypes as not projected if the stage trains a group that is not `free`."""
        if self.rule.undone_by(stage) and not (self.following and self.follows(stage)):
            self.pushed.fill_(False)

    # Vocabulary

    def remove(self, prototypes: Iterable[int]) -> None:
        """Removes prototypes for good, see `zoo.prototypes.layers.removal.remove`."""
        remove(self.alive, prototypes)

    def units(self, describe: Callable[[int], tuple[str, int | None]]) -> tuple[Unit, ...]:
        """One unit for each prototype, with the picture of its training patch.

        Args:
            describe: number of a prototype to its name, and the class that it belongs to, if to one.
        """

        def build() -> Iterable[Unit]:
            pictures, alive = self.provenance.picture.cpu(), self.alive.tolist()
            for j, source in enumerate(self.provenance.sources()):
                name, target = describe(j)
                known = source if alive[j] else {**source, "pruned": True}
                yield Unit(name, "prototype", target, known, pictures[j] if source else None)

        return self._units.get((self.provenance.name, self.alive), build)


def create_addon(
    channels: int, dim: int, similarity: Similarity, layers: int = 1, initialise: Initialise = kaiming_fan_out
) -> nn.Sequential:
    """1x1 convolutions with ReLU between, from maps of `channels` to `dim` channels, the size of the prototypes.

    They end in a sigmoid, except where patches are scaled to unit length.

    Args:
        channels: of the maps.
        dim: channels of the prototypes.
        similarity: of patches and prototypes.
        layers: number of convolutions.
        initialise: draws their weights in place; biases start at 0.
    """
    convolutions = [nn.Conv2d(channels if i == 0 else dim, dim, 1) for i in range(layers)]
    steps: list[nn.Module] = []
    for convolution in convolutions:
        initialise(convolution.weight)
        nn.init.zeros_(convolution.bias)  # pyright: ignore
        steps += [nn.ReLU(), convolution] if steps else [convolution]
    return nn.Sequential(*steps, nn.Identity() if similarity.unit_length else nn.Sigmoid())


def random_vectors(count: int, dim: int, similarity: Similarity) -> Tensor:
    """Prototypes (P, D) to start from: of any direction for unit length, else in the range of a sigmoid."""
    return torch.randn(count, dim) if similarity.unit_length else torch.rand(count, dim)
