"""What models share whose prototypes are compared with every patch by a similarity, of which the largest counts."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.prototypes.layers.projected import Pushed
from zoo.utils.functional import distances_at, log_similarity, squared_distances

EPSILON = 1e-4
SIMILARITIES = ("log", "cosine")


class Likeness(Pushed):
    """Prototypes and patches, and how much they are alike.

    A model calls `start_likeness` once it has its `backbone`.

        log:    s = log((d + 1) / (d + ε))   d = |z - p|², z in [0, 1], ε = 1e-4
        cosine: s = z·p = 1 - d / 2          z and p of unit length
    """

    backbone: nn.Module
    addon: nn.Module
    prototypes: nn.Parameter

    def start_likeness(self, channels: int, count: int, dim: int, similarity: str, layers: int) -> None:
        """Makes the add-on from maps of `channels` channels to patches, and the prototypes.

        Args:
            channels: of the backbone's maps.
            count: P.
            dim: D, channels of patches and prototypes.
            similarity: "log" or "cosine".
            layers: how many 1x1 convolutions the add-on has, with ReLU between.

        Raises:
            ValueError: an unknown similarity.
        """
        if similarity not in SIMILARITIES:
            raise ValueError(f"similarity must be {' or '.join(map(repr, SIMILARITIES))}; got '{similarity}'.")
        self.cosine = similarity == "cosine"
        steps: list[nn.Module] = [nn.Conv2d(channels, dim, 1)]
        for _ in range(layers - 1):
            steps += [nn.ReLU(), nn.Conv2d(dim, dim, 1)]
        self.addon = nn.Sequential(*steps, nn.Identity() if self.cosine else nn.Sigmoid())
        # In every direction for the cosine; in the range of the sigmoid otherwise.
        self.prototypes = nn.Parameter(torch.randn(count, dim) if self.cosine else torch.rand(count, dim))

    def embed(self, x: Tensor) -> Tensor:
        """Images as patches (B, D, h, w), of unit length if the similarity is the cosine."""
        z = self.addon(self.backbone(x))
        return F.normalize(z.float(), dim=1) if self.cosine else z

    def vectors(self) -> Tensor:
        """The prototypes (P, D) as patches are compared with them."""
        return F.normalize(self.prototypes, dim=1) if self.cosine else self.prototypes

    def similarity(self, distances: Tensor) -> Tensor:
        return 1 - distances / 2 if self.cosine else log_similarity(distances, EPSILON)

    def to_support(self, distances: Tensor) -> Tensor:
        """Similarity scaled to [0, 1]: 1 is an exact copy."""
        if self.cosine:
            return (1 - distances / 4).clamp(0, 1)
        return (log_similarity(distances, EPSILON) / -torch.log(torch.tensor(EPSILON))).clamp(0, 1)

    def compare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Squared distances (B, P, h, w) of all patches to all prototypes, and the least of each (B, P).

        In evaluation the least is exact: the log magnifies rounding 1e4-fold where patches nearly agree.
        """
        z, vectors = self.embed(x), self.vectors()
        distances = squared_distances(z, vectors)
        nearest, cell = distances.flatten(2).min(2)
        return distances, nearest if self.training else distances_at(z, vectors, cell)
