"""Graph neural additive network: a function of each feature, weighed by a function of the distance.

Bechler-Speicher, Globerson, Gilad-Bachrach: "The Intelligible and Effective Graph Neural Additive Networks",
NeurIPS 2024, arXiv 2406.01317.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.additive_evidence import additive_evidence, outputs_of, per_class
from zoo.core.distance_functions import DistanceFunctions
from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.core.unit_logits import UnitLogits
from zoo.domain import Domain
from zoo.domain.graph_text import IS
from zoo.graphs.layers.distances import Counts, centre_counts
from zoo.graphs.layers.functions import Functions
from zoo.graphs.layers.nodes import graphs_of
from zoo.networks.graph_batch import GraphBatch
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space, task_loss
from zoo.utils.checks import check_at_least

RECIPE = Recipe(
    stages=(Stage("train", epochs=100, train=("functions", "distance", "bias"), cosine=True),),
    lr=5e-3,
    weight_decay=5e-5,
    optimizer="adam",
    coefficients={"task": 1.0},
)
DEGREE = 4.0  # edges of a node that count as 1 in the function of the degree


@register(
    "gnan",
    modality="graph",
    paper="Bechler-Speicher et al., NeurIPS 2024",
    small=Small({"hidden": 4, "furthest": 3}, scale={"distance.weights.2": 5.0}),
)
class GNAN(UnitLogits):
    """A sum over nodes, features and distances, of a function of the feature times a function of the distance.

        score_c = b_c + Σ_i Σ_j Σ_k ρ_c(d_ij) / #_i(d_ij) f_kc(x_jk)
                = b_c + Σ_k Σ_j f_kc(x_jk) Σ_d ρ_c(d) M_jd          M_jd = Σ_i [d_ij = d] / #_i(d)

    Where node 0 of a network is asked about, i is that node alone: M_jd = [d_0j = d] / #_0(d).

    d_ij is the number of edges between nodes i and j, and #_i(d) the number of nodes at the distance d from i; pairs
    further apart than `furthest`, or not connected, do not count. There are no messages: the model is the functions f
    and ρ, which `function` and `profile` give. M is counted from the edges, so ρ is computed D times for a batch
    instead of n² times for each graph; both lines are equal.

    Units are features; "nodes" is a constant, so that the structure alone can count, and "degree" the number of edges
    of a node. The same sum by node and by distance is in the details of an explanation: "by node" (B, K, n) and "by
    distance" (B, K, D) add up to the contribution of each unit. For two classes the sum is the log-odds of the second.
    Features and directions of edges are not read.

    Differs from the published code: ρ has biases, and what is not connected is left out (there, for tasks of graphs, ρ
    is a ReLU network of one positive number without biases, which is a multiple of that number whatever its weights);
    the degree is a feature; larger initial weights (there: deviations of 0.01); batches of many graphs.

    Args:
        domain: what inputs and outputs mean (`data.domain`): graphs.
        hidden: units of the two hidden layers of each f and of ρ.
        furthest: largest distance, D - 1.
        degree: whether the degree of a node is a feature.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: functions, distance, bias.

    Raises:
        ValueError: inputs other than graphs, or an argument out of range.
    """

    default_recipe = RECIPE
    tasks = ("classification", "multilabel")
    weighs_rows = True
    functions: Functions
    distance: Functions

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        hidden: int = 64,
        furthest: int = 15,
        degree: bool = True,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_at_least(1, hidden=hidden)
        check_at_least(0, furthest=furthest)
        self.graphs, self.degree = graphs_of(self.domain, "GNAN", of_nodes=True), degree
        self.furthest = min(furthest, self.graphs.nodes - 1)
        self.counts = Counts(self.graphs, self.furthest)
        self.names = _names(self.graphs.features, degree)
        outputs = outputs_of(self.domain)
        self.functions = Functions(len(self.names), hidden, outputs)
        self.distance = Functions(1, hidden, outputs)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.space = score_space(self.domain)

    def evidence(self, x: Tensor) -> Evidence:
        batch = GraphBatch.of(x, self.graphs)
        of_nodes = self.graphs.radius is not None
        return self.counted(batch, centre_counts(batch, self.furthest) if of_nodes else self.counts(x, batch))

    def counted(self, batch: GraphBatch, counts: Tensor) -> Evidence:
        """The evidence of graphs whose nodes were counted by distance, M (N, D)."""
        values, profile = self.functions(self.inputs(batch)), self._profile()  # (N, K, C'), (D, C')
        at = values * (counts @ profile)[:, None]
        nodes = batch.per_node(at)  # (B, n, K, C')
        terms = nodes.sum(1)
        if self.training:
            return additive_evidence(terms, self.bias, None, self.domain)
        nodes = nodes.transpose(1, 2)
        strength = nodes.abs().mean(3)  # (B, K, n)
        support = strength / strength.amax(2, keepdim=True).clamp_min(torch.finfo(strength.dtype).tiny)
        evidence = additive_evidence(terms, self.bias, F.pad(support, (0, self.graphs.edges)), self.domain)
        apart = batch.per_node(values).flatten(2).mT @ batch.per_node(counts)  # (B, K C', D)
        apart = apart.unflatten(1, values.shape[1:]).transpose(2, 3) * profile
        evidence.state |= {"nodes": nodes, "distances": apart}
        return evidence

    def inputs(self, batch: GraphBatch) -> Tensor:
        """(N, K) the number that each function reads at each node."""
        if not self.degree:
            return batch.features
        _, receiver, times = batch.messages()
        there = batch.features.new_ones(batch.ends.shape[1]) if batch.joins is None else batch.joins
        edges = torch.zeros_like(batch.features[:, 0]).index_add(0, receiver, there.repeat(times))
        return torch.cat([batch.features, edges[:, None] / DEGREE], 1)

    def _profile(self) -> Tensor:
        d = torch.arange(self.furthest + 1, device=self.bias.device, dtype=self.bias.dtype)
        return self.distance(1 / (1 + d)[:, None])[:, 0]

    @torch.no_grad()
    def profile(self) -> Tensor:
        """ρ of each distance from 0 to `furthest`, (D, C')."""
        return self._profile()

    @torch.no_grad()
    def function(self, unit: str | int, values: Tensor) -> Tensor:
        """Function f of one unit at raw values (V,) of its feature: (V, C'); `profile` times this is the model.

        Raises:
            ValueError: there is no such unit.
        """
        column, graphs = self.unit_index(unit), self.graphs
        scaled = values.to(self.bias)
        if 0 < column <= len(graphs.features):
            scaled = (scaled - graphs.mean[column - 1]) / graphs.std[column - 1]
        elif column:
            scaled = scaled / DEGREE
        return self.functions(scaled[:, None].expand(-1, len(self.names)))[:, column]

    def distance_functions(self) -> DistanceFunctions:
        """All functions: of numbers within two standard deviations of the mean, of atoms at whole numbers."""
        degree = tuple(float(d) for d in range(1, 7))
        places = [(1.0,), *map(self._places, range(len(self.graphs.features))), *([degree] if self.degree else [])]
        values = tuple(self.function(k, torch.tensor(at)).cpu() for k, at in enumerate(places))
        two = outputs_of(self.domain) == 1 and self.domain.task == "classification"
        outputs = (f"log-odds of {self.domain.classes[-1]}",) if two else self.domain.classes
        return DistanceFunctions(outputs, self.names, tuple(places), values, self.profile().cpu())

    def _places(self, column: int) -> tuple[float, ...]:
        """Values of a feature at which its function is shown."""
        name, mean, std = self.graphs.features[column], self.graphs.mean[column], self.graphs.std[column]
        if IS in name or math.isclose(std**2, mean * (1 - mean), rel_tol=1e-3):  # of numbers that are 0 or 1
            return 0.0, 1.0
        if self.graphs.smiles:  # counts, and the charge
            low = min(round(mean - 2 * std), -1) if name == "charge" else 0
            return tuple(float(v) for v in range(low, max(round(mean + 2 * std), 1) + 1))
        return tuple(mean + std * (i - 20) / 10 for i in range(41))

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """The contribution of each unit by node (B, K, n) and by distance (B, K, D)."""
        named = {"by node": "nodes", "by distance": "distances"}
        return {
            name: _of_target(per_class(evidence.state[key], self.domain), target)
            for name, key in named.items()
            if key in evidence.state
        }

    def units(self) -> tuple[Unit, ...]:
        return tuple(Unit(name, "feature") for name in self.names)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        weights = (batch.get("class_weights"), batch.get("weight"))
        return {"task": task_loss(scores, batch["target"], self.domain, *weights)}


def _names(features: tuple[str, ...], degree: bool) -> tuple[str, ...]:
    """Names of the units; those besides the features differ from them."""
    first, last = (name if name not in features else f"{name} (of the graph)" for name in ("nodes", "degree"))
    return (first, *features, last) if degree else (first, *features)


def _of_target(values: Tensor, target: Tensor) -> Tensor:
    """Values (B, K, S, C) of the class `target` (B,)."""
    return values.gather(3, target.view(-1, 1, 1, 1).expand(*values.shape[:3], 1))[..., 0]
