"""Interchange interventions against two runs, one prompt after the other."""

import pytest
import torch
from torch import Tensor

from tests.circuits.tokens import pairs
from zoo.circuits import Circuit, SparseTransformer, TokenPairTask
from zoo.circuits.analysis.interchange import interchange, pairs_of_equal_length, rank_nodes, swapped_pairs
from zoo.circuits.analysis.token_pair_task import logit_differences
from zoo.circuits.network.trace import Trace


def one_site(model: SparseTransformer, site: str, layer: int) -> Tensor:
    mask = torch.zeros(model.means.shape, dtype=torch.bool)
    mask[layer, model.network.layout.part(site)] = True
    return mask


def test_a_write_is_swapped_as_by_hand(model: SparseTransformer) -> None:
    """The attention of layer 0 writes to each prompt what it writes to the other one."""
    task, network = pairs(4, seed=3), model.network
    found = interchange(model, task, one_site(model, "attn_out", 0))
    with torch.no_grad():
        clean = network.trace(record=True)
        before = logit_differences(network, task, clean)
        block, x = network.blocks[0], network.embed(task.tokens)
        x = x + clean.values[0, "attn_out"].view(4, 2, *x.shape[1:]).flip(1).flatten(0, 1)
        trace, last = Trace(network.kept), torch.full((8,), 11)
        x = block.transform(x, None, trace, last)[0]
        x = network.blocks[1](x, None, trace, last)[0]
        after = task.logit_difference(network.logits(x[:, -1], task.tokens[:, -1]))
    other = before.view(4, 2).flip(1).flatten()
    assert found.moved == pytest.approx(float((before - after).mean() / (before + other).mean()), abs=1e-5)
    assert found.flipped == pytest.approx(float(((after < 0) & (before > 0)).sum() / (before > 0).sum()))


def test_all_attention_reads_move_the_answer_and_no_nodes_move_nothing(model: SparseTransformer) -> None:
    """The prompts differ in the first token alone, which only attention can carry to the last one."""
    task = pairs(8)
    nothing = interchange(model, task, torch.zeros(model.means.shape, dtype=torch.bool))
    assert nothing == (0, 0)
    moved = interchange(model, task, one_site(model, "attn_v", 0) | one_site(model, "attn_v", 1))
    assert moved.moved > 0.5 and moved.flipped > 0.5


def test_the_estimate_is_the_gradient_along_the_change(model: SparseTransformer, circuit: Circuit) -> None:
    task = pairs(4)
    ranks = rank_nodes(model, task)
    node = int(ranks.argmax())
    mask = torch.zeros(model.means.numel(), dtype=torch.bool)
    mask[node] = True
    assert interchange(model, task, mask.view(model.means.shape)).moved > 0.02
    inside = rank_nodes(model, task, circuit)
    assert bool((inside[~circuit.mask] == 0).all()) and bool(inside.any())
    whole = interchange(model, task, circuit.mask, circuit)  # all that differs between the prompts is exchanged
    assert whole.moved == pytest.approx(1, abs=1e-4) and whole.flipped == 1


def test_pairs_of_unequal_lengths(model: SparseTransformer) -> None:
    task = pairs(3)
    tokens = task.tokens.clone()
    tokens[3, -1] = 0
    unequal = TokenPairTask(tokens, task.right, task.wrong)
    assert len(pairs_of_equal_length(unequal)) == 4
    assert swapped_pairs(torch.arange(4)).tolist() == [1, 0, 3, 2]
    with pytest.raises(ValueError, match=r"different numbers of tokens.*pairs_of_equal_length"):
        interchange(model, unequal, torch.zeros(model.means.shape, dtype=torch.bool))
