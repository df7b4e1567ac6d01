"""SE-GNN: the most similar labelled training nodes, or graphs, vote for their class.

Dai, Wang: "Towards Self-Explainable Graph Neural Network", CIKM 2021, arXiv 2108.12055.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.graphs.layers.case_bank import CaseBank
from zoo.graphs.layers.cases import Cases, Similarity, cases_of, compare, contrast
from zoo.graphs.layers.nodes import create_trunk, graphs_of
from zoo.networks.graph_batch import GraphBatch
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.utils.checks import check_above, check_at_least, check_between
from zoo.utils.functional import at_least_fp32, tied

RECIPE = Recipe(
    stages=(
        Stage("train", epochs=40, train=("backbone", "project"), cosine=True),
        Stage("gather"),
        Stage("measure", epochs=1, train=()),
    ),
    lr=1e-2,
    weight_decay=5e-4,
    optimizer="adam",
    coefficients={"nll": 1.0, "nodes": 0.1, "edges": 0.1},
)
SMALLEST = 1e-9  # probability in a logarithm
PAIRS = 512  # edges of a batch whose views are compared
MASKED, REMOVED = 0.2, 0.2  # shares of the features and of the edges of a view


class ClassVotes(nn.Module):
    """A linear readout whose weights are fixed: 1 from a case to its own class."""

    weight: Tensor
    bias = None

    def __init__(self, classes: int, per_class: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.eye(classes).repeat_interleave(per_class, 1), persistent=False)


@register(
    "knn_graph",
    modality="graph",
    paper="Dai, Wang, CIKM 2021",
    small=Small({"backbone": {"width": 4}, "dim": 3, "per_class": 2, "neighbours": 3, "edges": 4}),
)
class KNNGraph(SelfInterpretable):
    """Scores classes by the stored training cases most similar to the input: the probability is a sum over them.

        z_i = V GIN(x)_i                                (D)    of the nodes
        h = z_0 where node 0 of a network is asked about, else the mean of z over the nodes
        h_e = (z_i + z_j) / 2                           (D)    of each edge e = (i, j) of N: edges between nodes at most
                                                               `hops` from node 0, of a graph all
        s_l = [share · (-|h - h_l|) + (1 - share) · ½ (mean_{e ∈ N} max_{e' ∈ N_l} -|h_e - h_e'| + the reverse)] / T
        a_l = exp(s_l) / Σ_k exp(s_k) over the K most similar cases, else 0                    the activation
        p_c = Σ_l a_l [case l is of class c]                                                   no bias

        loss = nll + 0.1 nodes + 0.1 edges
        nll    -log(Σ_l exp s_l / (Σ_l exp s_l + Σ_n exp s_n)): l the K most similar cases of the same class in the
               batch, n `negatives` random ones of other classes
        nodes  InfoNCE of h in two views of the batch, in which 20 % of the features and of the edges are removed
        edges  likewise of h_e, for edges that are in both views

    Units are the stored training cases, and contributions are shares of the probability, so that scores are
    probabilities. `details` have the similarity of each case, s_l, and its two parts. Supports are the edges of N, as
    exp(-distance to the nearest edge of the case / T), with the nodes at their ends, of cases that vote.

    The action `gather` stores `per_class` cases of each class, those that represent it best, with their surroundings,
    which pages draw; the recipe must not train after it. Until then validation has no cases to compare with, and only
    the last stage measures. The accuracy in training is that of the other cases of the batch.

    Differs from the published code: representative cases instead of all; cases of a batch in training instead of all;
    GIN instead of a mix of an MLP and a GCN; at most `edges` edges are compared, the nearest ones; graphs besides
    nodes; a case without edges is compared by h in place of h_e.

    Args:
        domain: what inputs and outputs mean (`data.domain`): graphs with classes.
        backbone: options of `zoo.networks.gin.GIN`: width, layers, dropout.
        dim: D.
        per_class: stored training cases of each class.
        neighbours: K.
        share: of the similarity of nodes, in [0, 1].
        temperature: T, above 0.
        hops: of N, where nodes are asked about.
        edges: largest number of edges of N.
        negatives: random cases of other classes in the loss.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, project.

    Raises:
        ValueError: inputs other than graphs, or an option out of range.
    """

    default_recipe = RECIPE
    tasks = ("classification",)
    weighs_classes = False
    space = "probability"
    head: ClassVotes

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: dict[str, Any] | None = None,
        dim: int = 32,
        per_class: int = 20,
        neighbours: int = 10,
        share: float = 0.5,
        temperature: float = 1.0,
        hops: int = 1,
        edges: int = 32,
        negatives: int = 15,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        self.graphs = graphs_of(self.domain, "KNNGraph", of_nodes=True)
        check_at_least(1, dim=dim, per_class=per_class, neighbours=neighbours, hops=hops, edges=edges)
        check_at_least(1, negatives=negatives)
        check_between(0, 1, share=share)
        check_above(0, temperature=temperature)
        classes = len(self.domain.classes)
        if neighbours > per_class * classes:
            raise ValueError(
                f"neighbours must be at most {per_class * classes}, the number of stored cases (per_class times the "
                f"classes); got {neighbours}."
            )
        self.neighbours, self.share, self.temperature, self.negatives = neighbours, share, temperature, negatives
        self.hops, self.most = (None if self.graphs.radius is None else hops), min(edges, self.graphs.edges)
        self.backbone = create_trunk(backbone, self.graphs, "KNNGraph")
        self.project = nn.Linear(self.backbone.channels, dim, bias=False)
        self.bank = CaseBank(self.graphs, per_class, self.most + 1, dim)
        self.head = ClassVotes(classes, per_class)

    # The computation

    def cases(self, x: Tensor) -> Cases:
        """Inputs as they are compared."""
        return self._cases(GraphBatch.of(x, self.graphs))

    def _cases(self, batch: GraphBatch) -> Cases:
        states = at_least_fp32(self.project(self.backbone.nodes(batch)))
        return cases_of(states, batch, self.hops, self.most)

    def evidence(self, x: Tensor) -> Evidence:
        batch = GraphBatch.of(x, self.graphs)
        cases = self._cases(batch)
        if self.training:
            return self._training_evidence(x, cases)
        found = compare(cases, self.bank.cases)
        similarity = found.mixed(self.share) / self.temperature  # (B, S)
        known = similarity.masked_fill(~self.bank.filled, -torch.inf)
        best = tied(known).sort(dim=1, descending=True, stable=True).indices[:, : self.neighbours]
        votes = known.gather(1, best).softmax(1).nan_to_num(0.0)  # without any case, none votes
        activation = torch.zeros_like(similarity).scatter(1, best, votes)
        state = {"similarity": similarity, "node": found.node, "structure": found.structure}
        return Evidence(activation, self._support(cases, found, activation, batch), state)

    def _support(self, cases: Cases, found: Similarity, activation: Tensor, batch: GraphBatch) -> Tensor:
        """Supports (B, S, n + m), see above."""
        rows, n, m = batch.size
        near = (
            (found.nearest / self.temperature).exp() * cases.there[:, :, None] * (activation > 0)[:, None]
        )  # (B, E, S)
        edges = near.new_zeros(rows, m, near.shape[2]).scatter_add(
            1, cases.places[:, :, None].expand(-1, -1, near.shape[2]), near[:, :-1]
        )
        ends = batch.per_edge((batch.slot[batch.ends] - batch.place.div(max(m, 1), rounding_mode="floor") * n).T)
        index = ends.long().flatten(1)[:, :, None].expand(-1, -1, near.shape[2])  # (B, 2 m, S)
        nodes = near.new_zeros(rows, n, near.shape[2])
        nodes = nodes.scatter_reduce(1, index, edges.repeat_interleave(2, 1), "amax")
        if self.hops is not None:
            own = (found.node / self.temperature).exp() * (activation > 0)
            nodes = torch.cat([own[:, None], nodes[:, 1:]], 1)
        return torch.cat([nodes, edges], 1).mT

    def _training_evidence(self, x: Tensor, cases: Cases) -> Evidence:
        """Similarities between the cases of a batch, and two views of it."""
        between = compare(cases, cases).mixed(self.share) / self.temperature
        first, second = (self.cases(self._view(x)) for _ in range(2))
        width = len(self.bank.filled)
        state = {"between": between, "first": first.vectors, "second": second.vectors}
        state |= self._same_edges(first, second)
        return Evidence(between.new_zeros(len(x), width), None, state)

    def _view(self, x: Tensor) -> Tensor:
        """Inputs without some of the features of all nodes, and some of the edges."""
        nodes, edges = x.split([self.graphs.nodes, self.graphs.edges], 1)
        kept = (torch.rand_like(x[:, :1]) >= MASKED).to(x.dtype)
        kept = torch.cat([torch.ones_like(kept[..., :1]), kept[..., 1:]], 2)
        return torch.cat([nodes * kept, edges * (torch.rand_like(edges[..., :1]) >= REMOVED)], 1)

    def _same_edges(self, first: Cases, second: Cases) -> dict[str, Tensor]:
        """Some of the edges that two views have, in each of them, (B, E', D) with E' edges of each row."""
        count = max(PAIRS // max(len(first.vectors), 1), 1)
        m = self.graphs.edges
        placed = []
        for view in (first, second):
            at, there = view.places, view.there[:, :-1]
            slots = view.there.new_zeros(len(at), m).scatter(1, at, there)
            wide = at[:, :, None].expand(-1, -1, view.edges.shape[2])
            placed.append(
                (view.edges.new_zeros(len(at), m, view.edges.shape[2]).scatter(1, wide, view.edges[:, :-1]), slots)
            )
        both = placed[0][1] * placed[1][1]
        picked = (torch.rand_like(both) * both).sort(dim=1, descending=True).indices[:, :count]
        wide = picked[:, :, None].expand(-1, -1, first.edges.shape[2])
        return {
            "first edges": placed[0][0].gather(1, wide),
            "second edges": placed[1][0].gather(1, wide),
            "edges there": both.gather(1, picked),
        }

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        state, target = evidence.state, batch["target"]
        if "between" not in state:
            return {"nll": -scores.gather(1, target[:, None]).clamp_min(SMALLEST).log().mean()}
        there = state["edges there"] > 0
        return {
            "nll": self._likelihood(state["between"], target),
            "nodes": contrast(state["first"], state["second"], self.temperature),
            "edges": contrast(state["first edges"][there], state["second edges"][there], self.temperature),
        }

    def _likelihood(self, between: Tensor, target: Tensor) -> Tensor:
        """See `nll` above; of the cases that have another one of their class in the batch."""
        same = target[:, None] == target
        own = between.masked_fill(~same, -torch.inf).fill_diagonal_(-torch.inf)
        positive = own.topk(min(self.neighbours, len(own)), 1).values
        draw = torch.rand_like(between).masked_fill(same, -1)
        order = draw.topk(min(self.negatives, len(own)), 1)
        negative = between.gather(1, order.indices).masked_fill(order.values < 0, -torch.inf)
        some = same.sum(1) > 1
        if not bool(some.any()):
            return between.sum() * 0
        each = torch.cat([positive, negative], 1)[some].logsumexp(1) - positive[some].logsumexp(1)
        return each.mean()

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        if "between" in evidence.state:
            between = evidence.state["between"].detach().clone().fill_diagonal_(-torch.inf)
            best = between.topk(min(self.neighbours, len(between)), 1)
            votes = best.values.softmax(1).nan_to_num(0.0)
            classes = batch["target"][best.indices]
            scores = torch.zeros_like(scores).scatter_add(1, classes, votes.to(scores.dtype))
        return super().update_metrics(split, scores, evidence, batch)

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """The similarity of each case (B, S), and its parts of nodes and of structure."""
        names = {"similarity": "similarity", "node": "node similarity", "structure": "structure similarity"}
        return {names[name]: value for name, value in evidence.state.items() if name in names}

    # Cases

    def units(self) -> tuple[Unit, ...]:
        return self.bank.units()

    def require_ready(self) -> None:
        if not bool(self.bank.filled.any()):
            raise RuntimeError(
                "KNNGraph has no stored training cases to compare with: train with a recipe in which the action gather "
                "follows the last stage that trains, or call gather()."
            )

    def check_recipe(self) -> None:
        last = max((i for i, stage in enumerate(self.stages) if stage.trained), default=-1)
        if not any(stage.name == "gather" for stage in self.stages[last + 1 :]):
            raise ValueError(
                "at the end of this recipe there are no stored cases to compare with: after its last stage that "
                "trains, add {name: gather} and {name: measure, epochs: 1, train: []}."
            )

    def on_stage_start(self, stage: Stage) -> None:
        if stage.trained:
            self.bank.clear()

    @action
    def gather(self, projection_set: ProjectionSet) -> None:
        """Stores training cases of each class."""
        self.bank.gather(projection_set, self.cases)
