"""A policy that reads named concepts, which it learns from few labels: LICORICE with a linear head.

Ye, Milani, Gordon, Fang: "LICORICE: Label-Efficient Concept-Based Interpretable Reinforcement Learning", ICLR 2025,
arXiv 2407.15786.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.policies.layers.policy import Policy, observations_of
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.ppo import COEFFICIENTS, Critic, world_of
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.rollout import draws_of, play
from zoo.training.stages import Stage
from zoo.training.tasks import score_space
from zoo.utils.checks import check_at_least, check_between

POOL = 10  # states to choose from, for each that is annotated
RECIPE = Recipe(
    stages=(
        Stage("ask"),
        Stage("learn", epochs=15, train=("concepts",)),
        Stage("act", epochs=15, train=("head", "critic")),
        Stage("ask"),
        Stage("learn", epochs=15, train=("concepts",)),
        Stage("act", epochs=45, train=("head", "critic"), cosine=True),
    ),
    lr={"concepts": 1e-2, "head": 1e-2, "critic": 2e-3},
    weight_decay=0.0,
    optimizer="adam",
    coefficients={**COEFFICIENTS, "concepts": 1.0},
)


class ConceptNetworks(nn.Module):
    """M small networks that each predict all k concepts.

    Args:
        features: F.
        concepts: k.
        width: of the hidden layer.
        members: M.
    """

    def __init__(self, features: int, concepts: int, width: int, members: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(members, features, width) * (2 / features) ** 0.5)
        self.shift = nn.Parameter(torch.randn(members, 1, width) * 0.1)
        self.second = nn.Parameter(torch.randn(members, width, concepts) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(members, 1, concepts))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (M, B, k) of inputs (B, F)."""
        return F.relu(x @ self.first + self.shift) @ self.second + self.bias


@register("concept_policy", modality="table", paper="Ye et al., ICLR 2025", small=Small({"width": 4, "members": 2}))
class ConceptPolicy(Policy):
    """A policy that chooses by named concepts alone, learned from a bounded number of annotated states.

        p = mean over M networks of sigmoid(network(x))       (B, k)    probabilities of the concepts
        a = [p > 1/2]                                         (B, k) in {0, 1}
        score = W a + b                                       (B, C)

    The recipe repeats: `ask` lets the policy act, keeps each state with probability `keep`, and has those annotated on
    which the networks disagree most (variance of p over the networks), its share of the labels of
    `zoo.data.AnnotatedControl`; `learn` trains the networks on all annotated states; `act` trains the head by proximal
    policy optimisation, with the networks frozen. Concepts are hard, so that they carry nothing but their answers.

        loss = 1 concepts (binary cross-entropy of all networks) + PPO, see `zoo.training.ppo`

    On plain rows with concepts it learns concepts and actions at once.

    Differs from the published code: hard concepts and a linear head, so that contributions are exact (there: values and
    a head of two hidden layers); observed numbers instead of pixels; the networks that disagree are those that are used
    (there: five others choose the states).

    Args:
        domain: what is observed, the concepts and the actions (`data.domain`): a table of numbers with concepts.
        width: of the hidden layer of each network.
        members: M.
        keep: in (0, 1], see above.
        clip: see `zoo.training.ppo.Critic`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: concepts, head, critic.

    Raises:
        ValueError: observations other than numbers, no concepts, or an argument out of range.
    """

    default_recipe = RECIPE

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        width: int = 16,
        members: int = 3,
        keep: float = 0.1,
        clip: float = 0.2,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_at_least(1, width=width, members=members)
        check_between(0.001, 1, keep=keep)
        self.observed, self.keep = observations_of(self.domain, "ConceptPolicy"), keep
        if not self.domain.concepts:
            raise ValueError(
                "ConceptPolicy needs annotated concepts; use data with concepts, such as AnnotatedControl."
            )
        count = len(self.domain.concepts)
        self.concepts = ConceptNetworks(len(self.observed.features), count, width, members)
        self.head = nn.Linear(count, len(self.domain.classes))
        self.critic = Critic(self.observed, clip=clip)
        self.space = score_space(self.domain)

    def evidence(self, x: Tensor) -> Evidence:
        logits = self.concepts(x)  # (M, B, k)
        probability = logits.sigmoid().mean(0)
        rows = x.shape[0]
        state = {
            "unit_logits": self.head.weight.T.expand(rows, -1, -1),
            "bias": self.head.bias.expand(rows, -1),
            "probability": probability,
            "logits": logits.transpose(0, 1),
        }
        return Evidence((probability > 0.5).to(probability), None, state)

    def units(self) -> tuple[Unit, ...]:
        return tuple(Unit(name, "concept") for name in self.domain.concepts)

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        return {"probability": evidence.state["probability"]}

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        terms = super().losses(scores, evidence, batch)
        if "concepts" in batch:
            labels, logits = batch["concepts"][:, None], evidence.state["logits"]  # (B, 1, k), (B, M, k)
            known = labels.isfinite().expand_as(logits)
            errors = F.binary_cross_entropy_with_logits(
                logits, labels.nan_to_num().expand_as(logits).to(logits), reduction="none"
            )
            terms["concepts"] = (errors * known).sum() / known.sum().clamp_min(1)
        return terms

    def experience(self) -> None:
        data, stage = world_of(self), self.stage
        if data is None or stage is None or stage.name != "learn":
            super().experience()
            return
        wanted = data.minibatches.count * data.batch_size
        order = torch.randperm(len(data.asked)).repeat(-(-wanted // len(data.asked)))[:wanted]
        unused = torch.zeros(data.batch_size, dtype=torch.long)  # an action, which trains nothing in this stage
        actions = unused[:, None].float() if data.world.continuous else unused
        data.minibatches.batches = [
            {"input": data.asked[rows], "concepts": data.answers[rows], "target": actions}
            for rows in order.split(data.batch_size)
        ]

    def _test_or_validate(self, batch: Any, split: str, batch_idx: int) -> None:
        super()._test_or_validate(batch, split, batch_idx)
        if world_of(self) is not None:
            right = (self.evidence(batch["input"]).activation == batch["concepts"]).float().mean()
            self.log(f"{split}/concept_accuracy", right, on_step=False, on_epoch=True, batch_size=len(batch["input"]))

    @action
    def ask(self, projection_set: ProjectionSet) -> None:
        """Has states annotated; on plain rows, which have their labels, it does nothing."""
        data = world_of(self)
        if data is None:
            return
        if not hasattr(data, "ask"):
            raise ValueError("ConceptPolicy asks about concepts; use the data AnnotatedControl.")
        share = data.labels // sum(stage.name == "ask" for stage in self.stages)
        states = self.pool(data, POOL * share)
        apart = self.concepts(states.to(self.device)).sigmoid().var(0, correction=0).sum(1).cpu()  # (N,)
        data.ask(states[apart.argsort(descending=True, stable=True)[:share]])

    def pool(self, data: Any, count: int) -> Tensor:
        """States (N, F) that the policy reaches, N at most `count`; each was kept with probability `keep`."""
        draws, found, size = draws_of(data, "distil", len(data.asked)), [], 0

        def act(x: Tensor) -> Tensor:
            return self.critic.distribution(self.step(x.to(self.device))[0]).sample()

        while size < count:
            inputs = torch.cat(play(data, act, data.envs, draws, record=True).inputs)
            kept = inputs[torch.from_numpy(draws.random(len(inputs)) < self.keep)]
            found.append(kept)
            size += len(kept)
        states = torch.cat(found)
        return states[torch.from_numpy(draws.permutation(len(states)))[:count]]
