"""A graph network whose nodes each belong to one of a few concepts, which are counted.

Magister, Barbiero, Kazhdan, Siciliano, Ciravegna, Silvestri, Jamnik, Liò: "Encoding Concepts in Graph Neural Networks",
2022, arXiv 2207.13586.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.core.rule_table import Rule
from zoo.core.unit_cache import UnitCache
from zoo.domain import Domain
from zoo.graphs.layers.nodes import create_trunk, graphs_of
from zoo.graphs.layers.presence_logic import PresenceLogic, soft_presence
from zoo.graphs.layers.stored_subgraphs import StoredSubgraphs
from zoo.graphs.layers.subgraph_search import ball
from zoo.graphs.layers.supports import with_edges
from zoo.networks.graph_batch import GraphBatch
from zoo.networks.target_units import in_target_units
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import check_classification, score_space, task_loss
from zoo.utils.checks import check_above, check_at_least
from zoo.utils.functional import at_least_fp32
from zoo.utils.signatures import refuse_unknown

RECIPE = Recipe(
    stages=(
        Stage("train", epochs=60, train=("backbone", "concepts", "head")),
        Stage("gather"),
        Stage("last", epochs=20, train=("head",)),
    ),
    lr=5e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "balance": 0.1},
)
LOGIC = replace(
    RECIPE,
    stages=(
        Stage("train", epochs=60, train=("backbone", "concepts", "head")),
        Stage("last", epochs=20, train=("head",)),
        Stage("gather"),
        Stage("extract"),
        Stage("measure", epochs=1, train=()),
    ),
    coefficients={"task": 1.0, "balance": 0.1, "entropy": 1e-3},
)


@register(
    "graph_concepts",
    modality="graph",
    paper="Magister et al., 2022",
    small=Small(
        {"backbone": {"width": 8}, "concepts": 4, "examples": 1},
        variants={"logic": Small({"backbone": {"width": 8}, "concepts": 4, "examples": 1, "logic": {"hidden": 2}})},
    ),
)
class GraphConcepts(SelfInterpretable):
    """Gives each node one of D concepts, counts them, and scores the counts: one contribution for each concept.

        h = GIN(x)                                      (n, D')   see `zoo.networks.gin.GIN`
        c_i = one-hot of the largest of V h_i + v       (D)       the concept of node i
        n = Σ_i c_i                                     (D)       the activation: how many nodes have each concept
        score = W n + b                                 (C)

        loss = task + 0.1 balance
        balance = Σ_d p_d log(p_d D)        p: mean over the nodes of a batch of softmax((V h + v) / temperature)

    Forwards the concepts are one-hot, in training as well, so that what is trained is what is explained; backwards they
    have the gradient of the softmax. The balance is 0 if all concepts are as common, log D if there is only one; it
    keeps nodes from falling into few concepts at the start.

    The action `gather` stores for each concept the training nodes of highest probability, each of another graph, with
    the part of the graph that their states depend on. An intervention sets a count. Supports are the nodes of a
    concept, and the edges between two of them.

    With the option `logic` the head is instead an entropy-based network (see `LEN`) of which concepts are present,
    [n > 0], with the gradient of 1 - Π_i (1 - softmax_i). It is trained by a binary cross-entropy of each class and the
    entropy of its attention; the action `extract` finds a formula over the concepts for each class, and `formula_f1`
    says how well the formulas find their classes. The score is not a sum then, so there are no contributions; an
    explanation has the score with each concept absent, and present.

    Differs from the published code: a concept is the largest of D numbers (there: the pattern of those above half of
    the largest, so up to 2^D concepts); counts, or presence, in place of pooled codes; the balance.

    Args:
        domain: what inputs and outputs mean (`data.domain`): graphs.
        backbone: options of `zoo.networks.gin.GIN`: width, layers, dropout.
        concepts: D.
        temperature: of the softmax, above 0.
        examples: training nodes that are stored for each concept.
        logic: None for the linear head; for the other one its options, `hidden` neurons of each class (10),
            `temperature` of the attention (0.6) and largest number of `terms` of a formula (8).
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: inputs other than graphs, an option out of range, or logic for a task other than classification.
    """

    default_recipe = RECIPE
    tasks = ("classification", "multilabel", "regression")
    weighs_rows = True
    head: nn.Linear | PresenceLogic

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: dict[str, Any] | None = None,
        concepts: int = 8,
        temperature: float = 1.0,
        examples: int = 3,
        logic: dict[str, Any] | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe, default_recipe=None if logic is None else LOGIC)
        self.keep_arguments(locals())
        self.graphs = graphs_of(self.domain, "GraphConcepts")
        check_at_least(2, concepts=concepts)
        check_at_least(1, examples=examples)
        check_above(0, temperature=temperature)
        self.temperature = temperature
        self.backbone = create_trunk(backbone, self.graphs, "GraphConcepts")
        self.concepts = nn.Linear(self.backbone.channels, concepts)
        self.additive = logic is None
        if logic is None:
            self.head = in_target_units(nn.Linear(concepts, len(self.domain.classes)), self.domain)
        else:
            check_classification(self.domain, "GraphConcepts with logic")
            refuse_unknown(logic, ("hidden", "temperature", "terms"), "logic")
            self.head = PresenceLogic(self.domain.classes, concepts, **logic)
        self.space = score_space(self.domain)
        self.stored = StoredSubgraphs(concepts, examples, self.graphs)
        self._units = UnitCache()

    # The computation

    def memberships(self, batch: GraphBatch) -> Tensor:
        """Probabilities (N, D) of the concepts of the nodes."""
        return (at_least_fp32(self.concepts(self.backbone.nodes(batch))) / self.temperature).softmax(1)

    def evidence(self, x: Tensor) -> Evidence:
        batch = GraphBatch.of(x, self.graphs)
        soft = self.memberships(batch)
        hard = F.one_hot(soft.argmax(1), soft.shape[1]).to(soft.dtype)
        if not self.training:
            nodes = batch.per_node(hard)  # (B, n, D)
            return Evidence(nodes.sum(1), with_edges(nodes.mT, batch))
        counts = batch.pool(hard + soft - soft.detach())
        state = {"share": soft.mean(0, keepdim=True).expand(len(counts), -1)}
        if not self.additive:
            state["present"] = soft_presence(hard, soft, batch)
        return Evidence(counts, None, state)

    def readout(self, evidence: Evidence) -> Tensor:
        if not isinstance(self.head, PresenceLogic):
            return super().readout(evidence)
        if "present" in evidence.state:  # with a gradient, in training
            return self.head.network(evidence.state["present"])
        return self.head(evidence.activation)

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """With logic, the target's score if each concept were "absent" or "present", (B, D) each."""
        return self.head.alternatives(evidence.activation, target) if isinstance(self.head, PresenceLogic) else {}

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        weights = (batch.get("class_weights"), batch.get("weight"))
        share = evidence.state["share"][0] if "share" in evidence.state else self._shares(evidence)
        balance = torch.xlogy(share, share * len(share)).sum()
        if isinstance(self.head, PresenceLogic):
            task = self.head.loss(scores, batch["target"], weights)
            return {"task": task, "balance": balance, "entropy": self.head.network.entropy()}
        return {"task": task_loss(scores, batch["target"], self.domain, *weights), "balance": balance}

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        found = super().update_metrics(split, scores, evidence, batch)
        if not isinstance(self.head, PresenceLogic):
            return found
        return found | self.head.update_metrics(split, evidence.activation, batch["target"])

    @staticmethod
    def _shares(evidence: Evidence) -> Tensor:
        """How common each concept (D,) is among the nodes of a batch."""
        counts = evidence.activation.sum(0)
        return counts / counts.sum().clamp_min(1)

    # Concepts

    def units(self) -> tuple[Unit, ...]:
        def build() -> list[Unit]:
            found = [self.stored.sources(d) for d in range(self.concepts.out_features)]
            return [
                Unit(f"concept {d + 1}", "concept", None, {"subgraphs": parts} if parts else {})
                for d, parts in enumerate(found)
            ]

        return self._units.get((self.stored.index, self.stored.rows), build)

    def statements(self, terms: Any) -> tuple[str, ...]:
        far = f"{self.backbone.reach} edge{'s' if self.backbone.reach > 1 else ''}"
        said = (f"The concept of a node depends on all nodes at most {far} away.",) * len(terms["activation"])
        if not isinstance(self.head, PresenceLogic):
            return said
        names = [unit.name for unit in self.units()]
        rules = self.head.formulas.statements(terms["activation"] > 0, terms["target"], names)
        return tuple(f"{rule}. {also}" if rule else also for rule, also in zip(rules, said, strict=True))

    def rule_table(self) -> list[Rule]:
        """The formula of each class that has one, over the concepts that a graph has; none with the linear head."""
        if not isinstance(self.head, PresenceLogic):
            return []
        return self.head.formulas.rules([unit.name for unit in self.units()])

    def check_recipe(self) -> None:
        if self.additive and any(stage.name == "extract" for stage in self.stages):
            raise ValueError("the linear head has no formulas to extract; leave the stage out, or set logic: {}.")

    def on_stage_start(self, stage: Stage) -> None:
        if set(stage.trained) - {"head"}:
            self.stored.clear()
        if stage.trained and isinstance(self.head, PresenceLogic):
            self.head.formulas.clear()

    @action
    def extract(self, projection_set: ProjectionSet) -> None:
        """Extracts the formulas of the head `logic` from the training set."""
        if not isinstance(self.head, PresenceLogic):
            raise ValueError("the linear head has no formulas to extract.")
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for batch in projection_set:
            scores, evidence = self.step(batch["input"])
            parts.append((evidence.activation, scores, batch["target"]))
        self.head.extract(*(projection_set.gather(torch.cat(rows)) for rows in zip(*parts, strict=True)))

    @action
    def gather(self, projection_set: ProjectionSet) -> None:
        """Stores the training nodes that show each concept, each of another graph."""
        value, node = (projection_set.gather(one) for one in self._strongest(projection_set))
        self.stored.clear()
        if projection_set.rank:  # the state of rank 0 is sent to all ranks
            return
        for d in range(value.shape[1]):
            order = value[:, d].sort(descending=True, stable=True).indices[: self.stored.count].tolist()
            for place, i in enumerate(i for i in order if value[i, d] > 0):
                centre = int(node[i, d])
                part = ball(projection_set.input(i), centre, self.backbone.reach, self.graphs)
                self.stored.store(d, place, part, i, projection_set.name(i), centre)

    def _strongest(self, projection_set: ProjectionSet) -> tuple[Tensor, Tensor]:
        """Of each training graph and concept the largest probability (N, D) of its nodes, and the node (N, D).

        0 where no node has the concept.
        """
        values, nodes = [at_least_fp32(self.concepts.weight[:, :0].T)], [self.stored.index[:, :0].T]
        for batch in projection_set:
            graphs = GraphBatch.of(batch["input"], self.graphs)
            soft = self.memberships(graphs)
            own = F.one_hot(soft.argmax(1), soft.shape[1])
            value, node = graphs.per_node(soft * own).max(1)
            values.append(value)
            nodes.append(node)
        return torch.cat(values), torch.cat(nodes)
