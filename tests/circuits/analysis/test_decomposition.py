"""Contextual decomposition: parts of a pass that add up to it."""

import pytest
import torch

from tests.circuits.tokens import pairs, prompts, transformer, windows
from zoo.circuits import SparseTransformer, decompose
from zoo.circuits.analysis.decomposition import decomposed_nodes

VARIANTS = {
    "sparse": {},
    "dense": {"density": 1.0, "activation_density": 1.0},
    "positions": {"positions": {"kind": "sinusoid", "width": 4}},
    "added": {"positions": {"kind": "added"}, "sink": False, "bigram": False},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_parts_add_up_to_the_logits(name: str) -> None:
    model, tokens = transformer(**VARIANTS[name]), prompts(3)[0]
    tokens[1, 9:] = 0  # padding
    with torch.no_grad():
        for block in model.network.blocks:
            for linear in (block.qkv, block.out, block.up, block.down):
                linear.bias.normal_(std=0.3)
        scores = model(tokens)
    for chosen in ([0], [2, 5, 11], []):
        found = decompose(model, tokens, chosen)
        torch.testing.assert_close(found.relevant + found.irrelevant, scores, rtol=1e-5, atol=1e-5)
        assert bool(found.relevant.any()) == bool(chosen)
    if name != "positions":  # position channels belong to no token
        model = model.double()  # the share of a bias depends on rounding where a matrix gives almost nothing
        everything = decompose(model, tokens, torch.ones_like(tokens, dtype=torch.bool))
        torch.testing.assert_close(everything.relevant.float(), scores, rtol=1e-4, atol=1e-5)
        assert float(everything.irrelevant.abs().max()) < 1e-6


def test_a_later_token_gives_nothing_and_the_decisive_token_the_answer(model: SparseTransformer) -> None:
    task = pairs(4)
    difference = task.logit_difference(decompose(model, task.tokens, [0]).relevant)
    whole = task.logit_difference(model(task.tokens).detach())
    assert bool((difference > 0.5 * whole).all())
    tokens = task.tokens.clone()
    tokens[:, -1] = 0
    assert not decompose(model, tokens, [11]).relevant.any()
    with pytest.raises(ValueError, match=r"positions from 0 to 11; got \[12\]"):
        decompose(model, tokens, [12])
    with pytest.raises(ValueError, match=r"mask of shape \(8, 12\); got \(8, 3\)"):
        decompose(model, tokens, torch.ones(8, 3, dtype=torch.bool))


def test_the_last_write_of_a_node_is_read_as_it_is(model: SparseTransformer) -> None:
    """Between the last MLP and the logits there is only the final norm, whose scale is held."""
    task, net, layout = pairs(4), model.network, model.network.layout
    found = decomposed_nodes(model, task)
    assert bool(found.isfinite().all()) and all(bool(found[:, layout.part(s)].any()) for s in layout.sizes)
    trace = net.trace(record=True)
    net.last_logits(task.tokens, trace)
    part = layout.part("mlp_out")
    change = (trace.values[1, "mlp_out"][:, -1] - model.means[1, part]) * trace.scales[-1][:, -1] * net.norm.weight
    towards = net.unembedding.weight[task.right] - net.unembedding.weight[task.wrong]
    torch.testing.assert_close(found[1, part], (change * towards).mean(0).detach(), rtol=1e-4, atol=1e-5)


def test_means_are_needed() -> None:
    with pytest.raises(RuntimeError, match="no measured node means"):
        decomposed_nodes(transformer(), pairs(1))
    model = transformer()
    model.average(windows())
    assert decomposed_nodes(model, pairs(1)).shape == model.means.shape
