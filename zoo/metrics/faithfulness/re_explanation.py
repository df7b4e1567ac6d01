"""M16: given its own explanation alone, does a model of graphs answer and explain the same?"""

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric, spearman
from zoo.metrics.faithfulness.graph_edges import (
    SHARE,
    edge_scores,
    edges_of,
    graphs_of,
    random_edges,
    subgraph,
    top_edges,
)
from zoo.metrics.faithfulness.subject import Case


class ReExplanation(FaithfulnessMetric):
    """The answer and the scores of edges when the model sees nothing but the subgraph that explains its answer.

    The subgraph R of a graph G has the ⌈share · edges⌉ edges of G that score highest, none with a score of 0, and the
    nodes that they join; see `zoo.metrics.faithfulness.graph_edges.edge_scores`. Equal scores are in random order.

        rank correlation       Spearman's, over the edges of R, of their scores in G and in R, for the class that is
                               explained in G; 0 if one of the two is constant. No value if both are, or for one edge
        flips                  share of graphs whose answer for R is another one than for G
        flips, random edges    the same for as many random edges of G, to compare with

    A model that reads R alone has 1 and 0. Where a subgraph is unlike any graph of the training data, an honest model
    can fail too; random edges fail more often then. After the self-consistency test of arXiv 2605.07527.

    Args:
        share: of the edges of a graph, in (0, 1].
        seed: of the random edges and of the order of equal scores.
    """

    key, title = "M16", "re-explanation"
    columns = (Column("rank correlation", 1, 0.0, 1.0), Column("flips", -1, None, 0.0), Column("flips, random edges"))
    needs = ("graphs", "classes", "support")

    def __init__(self, share: float = SHARE, seed: int = 0) -> None:
        super().__init__()
        self.share, self.seed = share, seed

    def per_sample(self, case: Case) -> Tensor:
        domain, scores = graphs_of(case.domain), edge_scores(case)
        present = edges_of(case.x, domain)[0]
        chosen = top_edges(scores, present, case.ids, self.share, self.seed)
        inside, others = (
            subgraph(case.x, edges, domain) for edges in (chosen, random_edges(chosen, present, case.ids, self.seed))
        )
        again = edge_scores(Case(case.subject, inside, case.ids, case.target))
        same = (_constant(scores, chosen) & _constant(again, chosen)) | (chosen.sum(1) < 2)
        flips, at_random = ((case.subject.scores(x).argmax(1) != case.target).double() for x in (inside, others))
        values = torch.stack([spearman(scores, again, chosen).masked_fill(same, torch.nan), flips, at_random], 1)
        return values.masked_fill(~chosen.any(1, keepdim=True), torch.nan)


def _constant(values: Tensor, chosen: Tensor) -> Tensor:
    """(B,) bool: whether all chosen values are equal."""
    most, least = values.masked_fill(~chosen, -torch.inf).amax(1), values.masked_fill(~chosen, torch.inf).amin(1)
    return most <= least
