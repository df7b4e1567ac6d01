"""Prototypes that are channels of a map, shown by the training patches in which they fire most."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo.core.evidence import Unit
from zoo.core.training_examples import TrainingExamples
from zoo.core.unit_cache import UnitCache
from zoo.domain import ImageDomain
from zoo.prototypes.layers.projection import Nearest
from zoo.prototypes.layers.provenance import Provenance
from zoo.prototypes.layers.removal import remove
from zoo.prototypes.layers.sparse_head import relevant
from zoo.training.projection_set import ProjectionSet
from zoo.utils.functional import at_least_fp32


class ChannelPrototypes(nn.Module):
    """K prototypes of a model with non-negative weights (C, K), and n top-activating training patches of each.

    Buffers: `alive` (K,) bool, False for prototypes that were removed, whose activation the model sets to 0 ·
    `examples`, at most one patch of each training image · `first`, box and picture of the first of them.

    Args:
        count: K.
        channels: of the images.
        patches: n.
        thumbnail: side in pixels of a picture.
    """

    former_names: ClassVar[Mapping[str, str]] = {"alive": "patches.alive", "patches": "patches.examples"}
    """Where the weights of a model that owns a module `patches` of this class lie in older checkpoints."""
    alive: Tensor

    def __init__(self, count: int, channels: int, patches: int, thumbnail: int) -> None:
        super().__init__()
        self.register_buffer("alive", torch.ones(count, dtype=torch.bool))
        self.examples = TrainingExamples(count, patches)
        self.first = Provenance(count, channels, thumbnail)
        self._units = UnitCache()

    def remove(self, prototypes: Iterable[int]) -> None:
        """Removes prototypes for good, see `zoo.prototypes.layers.removal.remove`."""
        remove(self.alive, prototypes)

    def clear(self) -> None:
        """Removes the training patches, because the prototypes changed."""
        self.examples.clear()
        self.first.index.fill_(-1)

    def fill(
        self,
        projection_set: ProjectionSet,
        domain: ImageDomain,
        maps: Callable[[Tensor], Tensor],
        weight: Tensor,
        threshold: float = -torch.inf,
        boxes: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Finds the training patches in one pass, then draws the first of each prototype that has any weight.

        Args:
            projection_set: the training set.
            domain: of its images.
            maps: from images to how strongly each prototype fires in each cell, (B, K, h, w).
            weight: (C, K), set to 0 for prototypes that nowhere fire above the threshold.
            threshold: of `maps`.
            boxes: see `Provenance.record`.

        Raises:
            ValueError: the training set is empty.
        """
        self.clear()
        found = self.examples.find(projection_set, maps)
        weight.masked_fill_(found.tensors()[0][:, 0] <= threshold, 0)
        if projection_set.rank:  # rank 0 draws; its state is sent to all
            return
        drawn = relevant(weight) & self.alive
        value, index, cell = (tensor[:, 0] for tensor in found.tensors())
        nearest = Nearest(torch.zeros_like(value), index.where(drawn, -1), cell, value[:, None])
        own_map = lambda x, k: at_least_fp32(maps(x)[torch.arange(x.shape[0], device=x.device), k])  # noqa: E731
        self.first.record(nearest, projection_set, domain, own_map, boxes)

    def units(self, weight: Tensor, classes: Sequence[str]) -> tuple[Unit, ...]:
        """The prototypes, numbered from 1, with their pictures and the classes that they have a weight for.

        A prototype with a weight for one class only belongs to that class.

        Args:
            weight: (C, K).
            classes: their names.
        """
        tensors = (self.examples.index, self.first.index, self.first.name, self.alive, weight)
        return self._units.get(tensors, lambda: self._build(weight.detach(), classes))

    def _build(self, weight: Tensor, classes: Sequence[str]) -> Iterable[Unit]:
        pictures, alive = self.first.picture.cpu(), self.alive.tolist()
        for k, (source, column) in enumerate(zip(self.first.sources(), weight.T.tolist(), strict=True)):
            order = sorted(range(len(classes)), key=lambda c: -column[c])
            given = {classes[c]: column[c] for c in order if column[c] > 0}
            known: dict[str, Any] = {}
            if source:
                known = {name: source[name] for name in ("image", "index", "cell", "box", "region")}
                known["patches"] = self.examples.sources(k)
            known |= {"weights": given} if given else {"relevant": False}
            known |= {} if alive[k] else {"pruned": True}
            target = order[0] if len(given) == 1 else None
            yield Unit(f"prototype {k + 1}", "prototype", target, known, pictures[k] if source else None)
