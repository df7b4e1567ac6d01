"""Scores of pooled tokens as sums over the tokens: evidence of models whose mixing is linear with its weights held.

    score_c = b_c + ⟨w_c, Σ_i p_i (u_i + Σ_blocks out_i)⟩,    out_i = W_out (Σ_k M_ik ⊙ W_v u_k + offset_i)
            = b_c + Σ_k ⟨w_c, p_k u_k⟩ + Σ_blocks ⟨W_outᵀ w_c, reach_k ⊙ W_v u_k⟩ + bias path,  reach_k = Σ_i p_i M_ik

The right side is what is computed. It takes one pass from the last token to the first for `reach`, of all classes at
once, and neither the outputs nor the matrix M.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.core.evidence import Evidence
from zoo.sequences.layers.mixing import Mixer
from zoo.sequences.layers.reader import TokenReader
from zoo.utils.checks import check_choice

POOLINGS = ("mean", "last")


def pooling_weights(here: Tensor, pooling: str) -> Tensor:
    """Weights p (T, B): equal over the tokens ("mean"), or 1 at the last one ("last"); zeros where there are no tokens.

    Raises:
        ValueError: an unknown pooling.
    """
    check_choice(POOLINGS, pooling=pooling)
    if pooling == "mean":
        return here / here.sum(0).clamp_min(1)
    return here * (here.flip(0).cumsum(0).flip(0) == 1)


def token_evidence(
    reader: TokenReader,
    blocks: Sequence[Mixer],
    head: nn.Linear,
    x: Tensor,
    u: Tensor,
    here: Tensor,
    weight: Tensor,
    own: bool = True,
    places: bool = True,
) -> Evidence:
    """Evidence of a sum over tokens, see above, with the states "unit_logits" and "bias".

    Args:
        reader: of the inputs.
        blocks: side by side on the same token vectors.
        head: from pooled vectors to scores.
        x: inputs (B, T, ...).
        u: token vectors (T, B, D).
        here: (T, B), 1 at tokens.
        weight: p (T, B).
        own: whether u are the reader's vectors, of which its bias is left out.
        places: give supports.
    """
    bias = reader.bias if own else None
    vectors = u if bias is None else u - bias
    shares = weight[..., None].expand_as(u)
    terms = reader.terms(x, vectors, shares, None, head.weight)
    rest = u.new_zeros(x.shape[0], len(head.weight))
    if bias is not None:
        rest = rest + shares.sum(0) * bias @ head.weight.T
    for block in blocks:
        held = block.observe(u, here)
        value, matrix = block.value.weight, head.weight @ block.out.weight
        reach, offset = held.pull(weight)
        values = held.values
        if bias is not None:
            constant = value @ bias
            values, offset = values - constant, offset + reach.sum(0) * constant
        terms = terms + reader.terms(x, values, reach, value, matrix)
        rest = rest + offset @ matrix.T
    logits = torch.cat([reader.add_up(terms, x), rest[:, None]], 1)
    state = {"unit_logits": logits, "bias": head.bias.expand(x.shape[0], -1)}
    return Evidence(reader.activation(x), reader.support(x) if places else None, state)
