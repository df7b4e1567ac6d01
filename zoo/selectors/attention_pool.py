"""Attention pooling: each class attends to the positions of a sequence and adds up what it reads there.

Mullenbach, Wiegreffe, Duke, Sun, Eisenstein: "Explainable Prediction of Medical Codes from Clinical Text", NAACL 2018,
arXiv 1802.05695; label attention also in Mrini et al., Findings of EMNLP 2020, arXiv 1911.03875. A single attention for
all classes: Ilse, Tomczak, Welling: "Attention-based Deep Multiple Instance Learning", ICML 2018, arXiv 1802.04712.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.core.unit_logits import UnitLogits, of_target
from zoo.domain import Domain
from zoo.networks.base import StateEncoder
from zoo.networks.encoders import create_encoder
from zoo.networks.positions import Positions
from zoo.networks.target_units import in_target_units
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space, task_loss
from zoo.utils.checks import check_choice

RECIPE = Recipe(
    stages=(Stage("train", epochs=20, train=("backbone", "query", "head")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)
MODALITIES = ("text", "series", "audio")


@register(
    "attention_pool",
    modality=("text", "series", "audio"),
    paper="Mullenbach et al., NAACL 2018 (label attention); Ilse et al., ICML 2018",
    small=Small(
        {},
        scale={"query.weight": 5.0, "head.weight": 5.0},
        variants={
            "local": Small({"backbone": {"name": "convnet1d", "widths": [8, 8], "kernels": [3]}}),
            "series": Small({"elements": {"patch": 3}}, on="series"),
            "audio": Small({}, on="audio"),
        },
    ),
)
class AttentionPool(UnitLogits):
    """A weighted mean over positions for each class or tag, then a linear score: exactly a sum over the positions.

        z = backbone(x)                              (B, L, D)    a state for each word or stretch of time
        a_k = softmax_t(⟨q_k, z_t⟩)                  (B, L, C)    over the positions that the input has
        score_k = b_k + Σ_t a_kt ⟨w_k, z_t⟩

    Every position is a unit of activation 1 (0 for padding), whose logit of class k is a_kt ⟨w_k, z_t⟩, its
    contribution; an explanation has both factors, "attention" and "vote". When a unit is removed the attention to the
    others is held; when a word is removed from the input, it is divided anew.

    How much of the input a vote depends on is that of the backbone, and part of the explanation's statement: with
    "convnet1d" and "audio_convnet" a few words or steps around the position; with "transformer" the complete input, so
    that a contribution then says where the model read, not which words made it so.

    Differs from the published code: the score is linear in each position's state (Mrini et al.: after a residual
    connection, normalisation and an MLP, so that their shares of heads do not add up to the score); states have no
    tanh, and a query no hidden layer (Ilse et al.).

    Args:
        domain: what inputs and outputs mean (`data.domain`): texts, series or audio.
        backbone: see `zoo.networks.encoders.create_encoder`; it must have a state for each position.
        elements: `patch` in states of the backbone, or `sentences`, see `zoo.networks.positions.Positions`.
        attention: "label": each class has a query q_k; "shared": all classes have one.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, query, head.

    Raises:
        ValueError: another modality, a backbone without states, or an unknown choice.
    """

    default_recipe = RECIPE
    tasks = ("classification", "multilabel", "regression")

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "convnet1d",
        elements: dict[str, int] | None = None,
        attention: Literal["label", "shared"] = "label",
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_choice(("label", "shared"), attention=attention)
        if self.domain.modality not in MODALITIES:
            raise ValueError(f"AttentionPool reads {', '.join(MODALITIES)}; got a domain of {self.domain.noun}.")
        encoder = create_encoder(backbone, self.domain)
        if not isinstance(encoder, StateEncoder):
            raise ValueError(f"AttentionPool needs a backbone with a state for each position; got {backbone}.")
        self.backbone = encoder
        self.positions = Positions(self.domain, encoder, **(elements or {}))
        classes = len(self.domain.classes)
        self.query = nn.Linear(encoder.channels, classes if attention == "label" else 1, bias=False)
        self.head = in_target_units(nn.Linear(encoder.channels, classes), self.domain)
        self.space = score_space(self.domain)

    def evidence(self, x: Tensor) -> Evidence:
        z, present = self.positions.states(x), self.positions.present(x)
        scores = self.query(z)  # (B, L, C or 1)
        here = torch.ones_like(scores[..., 0], dtype=torch.bool) if present is None else present
        # Not -inf, whose softmax over an input without words is NaN.
        lowest = torch.finfo(scores.dtype).min
        attention = scores.masked_fill(~here[..., None], lowest).softmax(1) * here[..., None]
        votes = self.head(z) - self.head.bias
        state = {"unit_logits": attention * votes, "bias": self.head.bias.expand(x.shape[0], -1)}
        if self.training:
            return Evidence(here.to(z.dtype), None, state)
        state |= {"attention": attention.expand_as(votes), "votes": votes}
        return Evidence(here.to(z.dtype), self.positions.support(x), state)

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """Each position's attention of the target, and its vote for it; their product is the contribution."""
        state = evidence.state
        if "attention" not in state:
            return {}
        return {"attention": of_target(state["attention"], target), "vote": of_target(state["votes"], target)}

    def statements(self, terms: Any) -> tuple[str, ...]:
        return (f"The vote of each position depends on {self.positions.locality()}.",) * len(terms["activation"])

    def units(self) -> tuple[Unit, ...]:
        source: dict[str, Any] = {"patch": self.positions.step}
        if self.positions.reads is not None:
            source["reads"] = self.positions.reads
        return tuple(Unit(name, "position", source=source) for name in self.positions.names())

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights"))}
