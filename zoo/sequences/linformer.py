"""Linformer whose score is an exact sum over tokens, with the attention held.

Wang, Li, Khabsa, Fang, Ma: "Linformer: Self-Attention with Linear Complexity", 2020, arXiv 2006.04768.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.core.terms import without_autocast
from zoo.core.unit_logits import UnitLogits
from zoo.domain import Domain
from zoo.networks.target_units import in_target_units
from zoo.sequences.layers.attention_maps import contracted, per_channel
from zoo.sequences.layers.linformer_block import LinformerBlock
from zoo.sequences.layers.reader import MODALITIES, TokenReader
from zoo.sequences.layers.token_sum import pooling_weights, token_evidence
from zoo.training.batch import Batch
from zoo.training.modes import evaluating
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space, task_loss
from zoo.utils.checks import check_at_least, check_between

RECIPE = Recipe(
    stages=(Stage("train", epochs=20, train=("reader", "block", "head")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)


@register(
    "linformer",
    modality=("text", "series", "audio"),
    paper="Wang et al., 2020",
    small=Small(
        {"width": 4, "mixtures": 3, "heads": 2},
        scale={"head.weight": 5.0, "reader.vectors.embedding.weight": 2.0},
        variants={"series": Small({"elements": {"patch": 3}}, on="series")},
    ),
)
class Linformer(UnitLogits):
    """Token vectors, attention of linear cost, mean, a linear head: exactly a sum over tokens with the attention held.

        u = embedding(x)                                    (T, B, D)
        P = softmax(Q (Eᵀ K)ᵀ / √d)                         (B, H, T, k)   to k learned mixtures of positions
        out_i = W_out Σ_k (P Fᵀ)_ik W_v u_k
        score_c = b_c + ⟨w_c, mean_i (u_i + out_i)⟩

    The effective attention P Fᵀ (T, T) is exact; it can be negative, and its rows need not sum to 1, because F mixes
    values with any sign. A contribution is the term of its token, ⟨w_c, u_k⟩ / T + ⟨w_c, W_out Σ_i (P Fᵀ)_ik W_v u_k⟩ /
    T. The bias of the embedding of series and clips is the unit "bias path". Of series, each variable has its own
    terms.

    Held means: when a unit is removed from an explanation, P stays as it is; when a word is removed from the input, it
    changes too. F mixes positions of the complete input, so the model is not causal. Cost grows linearly with T.

    Differs from the published code: one layer without feed-forward network and normalisation, which have no exact terms
    for tokens; no position vectors, as E and F have a row for each position.

    Args:
        domain: what inputs and outputs mean (`data.domain`): texts, series or audio.
        width: D.
        mixtures: k.
        heads: H.
        dropout: probability of a number of a word's vector to be left out in training.
        elements: `patch` of series and audio, `sentences` of texts, see `zoo.sequences.layers.reader.TokenReader`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: reader, block, head.

    Raises:
        ValueError: another modality, or a number out of range.
    """

    default_recipe = RECIPE
    tasks = ("classification", "multilabel", "regression")

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        width: int = 64,
        mixtures: int = 32,
        heads: int = 4,
        dropout: float = 0.0,
        elements: dict[str, int] | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        if self.domain.modality not in MODALITIES:
            raise ValueError(f"Linformer reads {', '.join(MODALITIES)}; got a domain of {self.domain.noun}.")
        check_at_least(1, width=width)
        check_between(0, 0.99, dropout=dropout)
        self.reader = TokenReader(self.domain, width, dropout, True, **(elements or {}))
        self.block = LinformerBlock(width, self.domain.shape[0], mixtures, heads)
        self.head = in_target_units(nn.Linear(width, len(self.domain.classes)), self.domain)
        self.space = score_space(self.domain)

    def evidence(self, x: Tensor) -> Evidence:
        with without_autocast(x):
            u, here = self.reader(x), self.reader.here(x)
            weight = pooling_weights(here, "mean")
            return token_evidence(self.reader, [self.block], self.head, x, u, here, weight, places=not self.training)

    @torch.no_grad()
    def effective_attention(self, x: Tensor, target: int | None = None) -> Tensor:
        """How much of each token each position reads, with the attention held.

        Args:
            x: inputs (B, T, ...).
            target: a class by number; None for each head.

        Returns:
            P Fᵀ (B, H, T, T); with a target, (B, T, T) in the unit of the score: what token k gives to the class
            through position i, whose sums over i are the contributions.

        Raises:
            ValueError: an input that the domain refuses, a number out of range, or more than 2³⁰ entries.
        """
        self.domain.check(x, type(self).__name__)
        with evaluating(self):
            u, here = self.reader(x), self.reader.here(x)
        if target is None:
            return per_channel(self.block, u, here)[:, :: self.block.value.out_features // self.block.heads]
        check_between(0, len(self.domain.classes) - 1, target=target)
        return contracted([self.block], u, here, pooling_weights(here, "mean"), self.head.weight[target])

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        noun = {"text": "word", "series": "step", "audio": "moment"}[self.domain.modality]
        text = f"Each contribution is linear in its {noun}; the attention to it depends on the others and is held."
        return (text,) * len(terms["activation"])

    def units(self) -> tuple[Unit, ...]:
        return self.reader.units

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights"))}
