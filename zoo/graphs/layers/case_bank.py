"""Training cases that a model remembers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from zoo.core.evidence import Unit
from zoo.core.unit_cache import UnitCache
from zoo.domain import GraphDomain
from zoo.graphs.layers.cases import Cases
from zoo.graphs.layers.stored_subgraphs import StoredSubgraphs
from zoo.graphs.layers.subgraph_search import without_others
from zoo.training.projection_set import ProjectionSet

DRAWN = 30  # nodes of a stored case that are kept for its drawing, the first ones
ROUNDS = 20  # of the search for the cases that represent a class
CHUNK = 64  # cases that are embedded at once


class CaseBank(nn.Module):
    """C·Q training cases, Q of each class.

    Buffers: `vectors` (S, D), `edges` (S, E, D) and `there` (S, E), see `zoo.graphs.layers.cases.Cases` · `filled` (S,)
    bool, False where a class has fewer cases · `stored`, the cases themselves.

    Args:
        domain: of the graphs.
        per_class: Q.
        edges: E.
        dim: D.
    """

    vectors: Tensor
    edges: Tensor
    there: Tensor
    filled: Tensor

    def __init__(self, domain: GraphDomain, per_class: int, edges: int, dim: int) -> None:
        super().__init__()
        count = len(domain.classes) * per_class
        self.domain, self.per_class = domain, per_class
        self.register_buffer("vectors", torch.zeros(count, dim))
        self.register_buffer("edges", torch.zeros(count, edges, dim))
        self.register_buffer("there", torch.zeros(count, edges))
        self.register_buffer("filled", torch.zeros(count, dtype=torch.bool))
        self.stored = StoredSubgraphs(count, 1, domain)
        self._units = UnitCache()

    @property
    def cases(self) -> Cases:
        """The stored cases, as they are compared."""
        return Cases(self.vectors, self.edges, self.there, torch.zeros_like(self.there[:, 1:]).long())

    def clear(self) -> None:
        """Forgets all cases."""
        self.filled.fill_(False)
        self.stored.clear()

    def gather(self, projection_set: ProjectionSet, embed: Callable[[Tensor], Cases]) -> None:
        """Stores cases that represent their class: all if there are no more than Q, else those nearest to Q means.

        Args:
            projection_set: the training set, this rank's share.
            embed: inputs to cases.

        Raises:
            ValueError: a class has no training case.
        """
        vectors, targets = [self.vectors[:0]], [self.stored.index[:0, 0]]
        for batch in projection_set:
            vectors.append(embed(batch["input"]).vectors)
            targets.append(batch["target"])
        every, target = projection_set.gather(torch.cat(vectors)), projection_set.gather(torch.cat(targets))
        self.clear()
        chosen = list[tuple[int, int]]()
        for c, name in enumerate(self.domain.classes):
            own = (target == c).nonzero().flatten()
            if not len(own):
                raise ValueError(f"class {name} has no training case to compare with.")
            rows = own[representatives(every[own], self.per_class)].tolist()
            chosen += [(c * self.per_class + k, i) for k, i in enumerate(sorted(rows))]
        if projection_set.rank:  # the state of rank 0 is sent to all ranks
            return
        for start in range(0, len(chosen), CHUNK):
            slots, rows = zip(*chosen[start : start + CHUNK], strict=True)
            inputs = torch.stack([projection_set.input(i) for i in rows])
            found = embed(inputs)
            self.vectors[list(slots)], self.edges[list(slots)] = found.vectors, found.edges
            self.there[list(slots)], self.filled[list(slots)] = found.there, True
            centre = 0 if self.domain.radius is not None else -1
            for slot, i, x in zip(slots, rows, inputs, strict=True):
                self.stored.store(slot, 0, self._drawn(x), i, projection_set.name(i), centre)

    def _drawn(self, x: Tensor) -> Tensor:
        """The first nodes of an input, which of surroundings are the nearest."""
        nodes = (x[: self.domain.nodes, 0] > 0).nonzero().flatten()[:DRAWN].tolist()
        return without_others(sum(1 << node for node in nodes), x, self.domain)

    def units(self) -> tuple[Unit, ...]:
        """One unit for each place of a case, with its subgraph in `source`."""

        def build() -> list[Unit]:
            made = []
            for j, filled in enumerate(self.filled.tolist()):
                target, place = divmod(j, self.per_class)
                source = {"subgraphs": found} if (found := self.stored.sources(j)) else {}
                source |= {} if filled else {"pruned": True}
                made.append(Unit(f"{self.domain.classes[target]} #{place + 1}", "training case", target, source))
            return made

        return self._units.get((self.stored.index, self.stored.rows, self.filled), build)


def representatives(vectors: Tensor, count: int) -> Sequence[int]:
    """Numbers of vectors (N, D) that represent all: each the nearest one to one of `count` means (k-means).

    The means start at vectors that are far apart, the first at the one nearest to the mean of all.
    """
    if len(vectors) <= count:
        return list(range(len(vectors)))
    vectors = vectors.double()
    away = (vectors - vectors.mean(0)).square().sum(1)
    means, nearest = [vectors[int(away.argmin())]], torch.full_like(away, torch.inf)
    for _ in range(count - 1):
        nearest = torch.minimum(nearest, (vectors - means[-1]).square().sum(1))
        means.append(vectors[int(nearest.argmax())])
    centres = torch.stack(means)
    for _ in range(ROUNDS):
        owner = torch.cdist(vectors, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add(0, owner, vectors)
        sizes = torch.bincount(owner, minlength=count)[:, None]
        centres = torch.where(sizes > 0, sums / sizes.clamp_min(1), centres)
    apart, chosen = torch.cdist(centres, vectors), list[int]()
    for row in apart:
        chosen.append(int(row.index_fill(0, torch.tensor(chosen, dtype=torch.long), torch.inf).argmin()))
    return chosen
