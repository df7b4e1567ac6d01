"""M17: does what surrounds the explanation of a graph change the answer?"""

from functools import cached_property
from random import Random

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric
from zoo.metrics.faithfulness.graph_edges import (
    SHARE,
    edge_scores,
    edges_of,
    graphs_of,
    nodes_at,
    random_edges,
    top_edges,
)
from zoo.metrics.faithfulness.graph_parts import Part, attached, grown, part
from zoo.metrics.faithfulness.streams import integers
from zoo.metrics.faithfulness.subject import Case, Subject

CHUNK = 16  # training graphs that are explained at once


class Extension(FaithfulnessMetric):
    """Whether the answer stays when its surroundings grow, and follows its explanation into another graph.

    R is the subgraph that explains the answer for a graph G, as in M16; H is a random training graph, S the subgraph
    that explains its answer, and H - S what remains: the edges that are not in S, and the nodes that they join.

        stays      share of graphs whose answer is the same for G with a connected part of H - S, of as many edges as R,
                   joined by one edge to a node of G outside of R
        follows    share of graphs whose answer is the same for R joined by one edge to H - S, where the answer for H is
                   another one
        stays, random edges; follows, random edges
                   the same with as many random edges in place of R and S, to compare with

    An explanation that decides has 1 and 1. Models read a limited number of nodes and edges: as long as there is no
    room, nodes outside of R leave at random (for "stays" of G, for "follows" of H - S). Graphs for which that is not
    enough have no value, nor for "follows" those of models that answer the same for all training graphs. The test
    follows the idea of the extension sufficiency in arXiv 2601.20815; the definition is ours.

    Args:
        subject: the subject to evaluate.
        reference: (M, n + m, W) training inputs.
        share: of the edges of a graph that R and S have, in (0, 1].
        seed: of all random choices.
    """

    key, title = "M17", "extension"
    columns = (
        Column("stays", 1, None, 1.0),
        Column("follows", 1, None, 1.0),
        Column("stays, random edges"),
        Column("follows, random edges"),
    )
    needs = ("graphs", "whole graphs", "classes", "support")

    def __init__(self, subject: Subject, reference: Tensor, share: float = SHARE, seed: int = 0) -> None:
        super().__init__()
        self.subject, self.reference, self.share, self.seed = subject, reference, share, seed

    @cached_property
    def others(self) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The answers (M,) for the training graphs, and their edges (M, m) in S and in random S."""
        ids = -1 - torch.arange(len(self.reference))
        answers, found = [], []
        for x, numbers in zip(self.reference.split(CHUNK), ids.split(CHUNK), strict=True):
            device = self.subject.model.device
            case = Case(self.subject, x.to(device), numbers.to(device))
            answers.append(case.target)
            found.append(self.chosen(case))
        best, at_random = (torch.cat(edges).cpu() for edges in zip(*found, strict=True))
        return torch.cat(answers).cpu(), (best, at_random)

    def chosen(self, case: Case) -> tuple[Tensor, Tensor]:
        """(B, m) bool twice: the edges of R, and as many random ones."""
        present = edges_of(case.x, graphs_of(case.domain))[0]
        found = top_edges(edge_scores(case), present, case.ids, self.share, self.seed)
        return found, random_edges(found, present, case.ids, self.seed)

    def per_sample(self, case: Case) -> Tensor:
        columns = []
        for own, other in zip(self.chosen(case), self.others[1], strict=True):
            columns.append(self.answers_stay(case, [self.extended(case, i, own, other) for i in range(len(case))]))
            columns.append(self.answers_stay(case, [self.moved(case, i, own, other) for i in range(len(case))]))
        return torch.stack(columns, 1)

    def answers_stay(self, case: Case, graphs: list[Tensor | None]) -> Tensor:
        """(B,) 1 where the answer for a graph is the class that is explained, else 0; NaN where there is none."""
        rows = [i for i, x in enumerate(graphs) if x is not None]
        found = torch.full((len(graphs),), torch.nan, dtype=torch.float64, device=case.x.device)
        if rows:
            answers = case.subject.scores(torch.stack([x for x in graphs if x is not None]).to(case.x)).argmax(1)
            found[rows] = (answers == case.target[rows]).double()
        return found

    def extended(self, case: Case, row: int, own: Tensor, other: Tensor) -> Tensor | None:
        """G with a part of H - S joined to it, or None without R, H - S or room."""
        random, domain = self.random(case, row, "extended"), graphs_of(case.domain)
        x, mine = case.x[row].cpu(), own[row].cpu()
        rest = self.remaining(random.randrange(len(other)), other)
        if not mine.any() or not rest.ends:
            return None
        present, ends = edges_of(x[None], domain)
        there, inside = x[: domain.nodes, 0] > 0, nodes_at(mine[None], ends, domain.nodes)[0]
        held = set(inside[there].nonzero()[:, 0].tolist())  # numbers among the nodes that there are
        return attached(part(x, there, present[0], domain), held, grown(rest, int(mine.sum()), random), random, domain)

    def moved(self, case: Case, row: int, own: Tensor, other: Tensor) -> Tensor | None:
        """R joined to H - S, where the answer for H is another one; None without R, H or room."""
        random, domain = self.random(case, row, "moved"), graphs_of(case.domain)
        x, mine = case.x[row].cpu(), own[row].cpu()
        unlike = (self.others[0] != case.target[row].cpu()).nonzero()[:, 0].tolist()
        if not unlike or not mine.any():
            return None
        nodes = nodes_at(mine[None], edges_of(x[None], domain)[1], domain.nodes)[0]
        rest = self.remaining(random.choice(unlike), other)
        return attached(rest, set(), part(x, nodes, mine, domain), random, domain)

    def remaining(self, h: int, without: Tensor) -> Part:
        """H - S of a training graph, of the edges S (M, m)."""
        domain, x = graphs_of(self.subject.domain), self.reference[h].cpu()
        present, ends = edges_of(x[None], domain)
        edges = present[0] & ~without[h]
        return part(x, nodes_at(edges[None], ends, domain.nodes)[0], edges, domain)

    def random(self, case: Case, row: int, stream: str) -> Random:
        """The source of all random choices for one graph."""
        return Random(int(integers(case.ids[row : row + 1], 1, 2**53, self.seed, stream)))
