"""Linear recurrent networks (Mamba, Griffin, RWKV) whose score is an exact sum over tokens, with the gates held.

Implicit attention: Ali, Zimerman, Wolf: "The Hidden Attention of Mamba Models", 2024, arXiv 2403.01590; Zimerman, Ali,
Wolf: "Explaining Modern Gated-Linear RNNs via a Unified Implicit Attention Formulation", 2024, arXiv 2405.16504.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.core.terms import without_autocast
from zoo.core.unit_logits import UnitLogits
from zoo.domain import Domain
from zoo.networks.target_units import in_target_units
from zoo.sequences.layers.attention_maps import contracted, per_channel, rolled_out
from zoo.sequences.layers.blocks import create_block
from zoo.sequences.layers.mixing import Parallel
from zoo.sequences.layers.reader import MODALITIES, TokenReader
from zoo.sequences.layers.token_sum import pooling_weights, token_evidence
from zoo.training.batch import Batch
from zoo.training.modes import evaluating
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space, task_loss
from zoo.utils.checks import check_at_least, check_between

RECIPE = Recipe(
    stages=(Stage("train", epochs=8, train=("reader", "blocks", "head")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)


@register(
    "linear_recurrent",
    modality=("text", "series", "audio"),
    paper="Ali et al., 2024 (implicit attention); Gu and Dao, 2023 (Mamba)",
    small=Small(
        {"width": 4, "block": {"kind": "s6", "states": 3}},
        scale={"head.weight": 5.0, "reader.vectors.embedding.weight": 2.0},
        variants={
            "rwkv": Small({"block": "rwkv", "depth": 2, "pooling": "last"}),
            "series": Small({"block": "rg_lru", "parallel": 2, "elements": {"patch": 3}}, on="series"),
            "audio": Small({"block": "rwkv", "elements": {"patch": 4}}, on="audio"),
        },
    ),
)
class LinearRecurrent(UnitLogits):
    """Token vectors, one linear recurrence, pooling, a linear head: exactly a sum over tokens with the gates held.

        u = embedding(x)                                    (T, B, D)
        out_i = W_out Σ_k (G α S K)_ik ⊙ (W_v u_k) + offset_i        see `zoo.sequences.layers.blocks`
        score_c = b_c + ⟨w_c, Σ_i p_i (u_i + out_i)⟩        p: mean over the tokens, or the last one

    G, α, S and K are the gates, the recurrence and the convolution of the block, as they were computed from the input:
    for held gates the score is linear in the token vectors. A contribution is the term of its token: what it writes
    into the state, decayed up to each later position, and read there, and what it gives directly. The biases of the
    convolution and of the embedding are the unit "bias path". Of series, each variable has its own terms.

    Held means: when a unit is removed from an explanation, the gates stay as they are. When a word is removed from the
    input, they change too; `evaluate --metrics` measures how far the two are apart.

    With `depth` above 1 the blocks below transform the token vectors, residual stream and all, and an explanation is
    one of the last block alone: it is exact over positions, but the vector at a position has read everything before
    it, which each explanation says. `rollout` is a picture of how layers pass on what they read; it is not exact.

    Differs from the published code: the matrix has gate, convolution, skip connection and bias of the convolution, so
    that terms add up to the score (Ali et al.: without them); no normalisation but between blocks; scores and terms
    take one scan from the last token to the first, and no matrix.

    Args:
        domain: what inputs and outputs mean (`data.domain`): texts, series or audio.
        block: "s6" (Mamba), "ssd" (Mamba-2), "rg_lru" (Griffin) or "rwkv" (RWKV-4), or a mapping of `kind` and its
            options, see `zoo.sequences.layers.blocks.create_block`.
        width: D.
        parallel: number of blocks side by side, of which each has terms of its own.
        depth: number of layers of such blocks.
        pooling: "mean" or "last".
        dropout: probability of a number of a word's vector to be left out in training.
        elements: `patch` of series and audio, `sentences` of texts, see `zoo.sequences.layers.reader.TokenReader`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: reader, blocks, head.

    Raises:
        ValueError: another modality, an unknown choice, or a number out of range.
        TypeError: an unknown option.
    """

    default_recipe = RECIPE
    tasks = ("classification", "multilabel", "regression")

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        block: str | dict[str, Any] = "s6",
        width: int = 64,
        parallel: int = 1,
        depth: int = 1,
        pooling: Literal["mean", "last"] = "mean",
        dropout: float = 0.0,
        elements: dict[str, int] | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        if self.domain.modality not in MODALITIES:
            raise ValueError(f"LinearRecurrent reads {', '.join(MODALITIES)}; got a domain of {self.domain.noun}.")
        check_at_least(1, width=width, parallel=parallel, depth=depth)
        check_between(0, 0.99, dropout=dropout)
        pooling_weights(torch.ones(1, 1), pooling)  # refuses unknown ones
        self.pooling, self.depth = pooling, depth
        self.reader = TokenReader(self.domain, width, dropout, by_variable=depth == 1, **(elements or {}))
        layers = (Parallel(create_block(block, width) for _ in range(parallel)) for _ in range(depth))
        self.blocks = nn.ModuleList(layers)
        self.head = in_target_units(nn.Linear(width, len(self.domain.classes)), self.domain)
        self.space = score_space(self.domain)

    @property
    def layers(self) -> list[Parallel]:
        """The layers; an explanation is one of the last."""
        return [layer for layer in self.blocks if isinstance(layer, Parallel)]

    def read(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The vectors that each layer reads, each (T, B, D), and `here` (T, B), 1 at tokens."""
        h, here = self.reader(x), self.reader.here(x)
        read = [h]
        for layer in self.layers[:-1]:
            h = h + layer(read[-1], here)
            read.append(F.rms_norm(h, h.shape[-1:], eps=1e-6))
        return read, here

    def evidence(self, x: Tensor) -> Evidence:
        with without_autocast(x):  # products of many decays need their digits
            read, here = self.read(x)
            weight = pooling_weights(here, self.pooling)
            own, places = self.depth == 1, not self.training
            return token_evidence(
                self.reader, self.layers[-1].mixers, self.head, x, read[-1], here, weight, own, places
            )

    @torch.no_grad()
    def implicit_attention(self, x: Tensor, target: int | None = None, block: int = 0) -> Tensor:
        """How much of each token a position of the last layer reads, with the gates held.

        Args:
            x: inputs (B, T, ...).
            target: a class by number; None for each channel.
            block: which of the parallel blocks, if there is no target.

        Returns:
            Without a target, M = G α S K of a block (B, E, T, T): out_i = W_out (Σ_k M_ik ⊙ W_v u_k + offset_i). With
            one, (B, T, T) in the unit of the score: what token k gives to the class through position i, of all blocks
            and the direct path. Its sums over i, with what the biases give, are the contributions.

        Raises:
            ValueError: an input that the domain refuses, a number out of range, or more than 2³⁰ entries.
        """
        read, here = self._observed(x)
        if target is None:
            check_between(0, len(self.layers[-1]) - 1, block=block)
            return per_channel(self.layers[-1].mixers[block], read[-1], here)
        check_between(0, len(self.domain.classes) - 1, target=target)
        weight = pooling_weights(here, self.pooling)
        return contracted(self.layers[-1].mixers, read[-1], here, weight, self.head.weight[target])

    @torch.no_grad()
    def rollout(self, x: Tensor) -> Tensor:
        """Attention rollout over the layers (B, T, T): rows sum to 1; a picture, not a contribution.

        Of each layer, the mean over channels of |M| with rows of sum 1, half of it beside half of the identity for the
        residual stream; multiplied from the last to the first (Abnar, Zuidema, ACL 2020, arXiv 2005.00928).
        """
        read, here = self._observed(x)
        return rolled_out([layer.mixers for layer in self.layers], read, here)

    def _observed(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        self.domain.check(x, type(self).__name__)
        with evaluating(self):
            return self.read(x)

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        noun = {"text": "word", "series": "step", "audio": "moment"}[self.domain.modality]
        text = f"Each contribution is linear in its {noun}; the gates that weigh it depend on the others and are held."
        if self.depth > 1:
            text = f"The vector at each {noun}, whose term is its contribution, has read everything before it."
        return (text,) * len(terms["activation"])

    def units(self) -> tuple[Unit, ...]:
        return self.reader.units

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights"))}
