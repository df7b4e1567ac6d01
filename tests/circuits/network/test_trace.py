"""Forward passes with ablated nodes and with scales of norms from another pass."""

import torch

from tests.circuits.tokens import pairs, prompts, transformer, windows
from zoo.circuits import SparseTransformer
from zoo.circuits.network.trace import Ablation


def test_masks_of_ones_change_nothing_and_masks_of_zeros_leave_constants() -> None:
    model, tokens = transformer(), prompts(4)[0]
    model.average(windows())
    net = model.network
    with torch.no_grad():
        on = Ablation(torch.ones_like(model.means), model.means, net.layout)
        torch.testing.assert_close(net.last_logits(tokens, net.trace(on)), model(tokens))
        off = Ablation(torch.zeros_like(model.means), model.means, net.layout)
        same = tokens.clone()
        same[:, :-1] = same[:1, :-1].flip(1)  # other tokens before the last, which the ablated network cannot see
        torch.testing.assert_close(net.last_logits(tokens, net.trace(off)), net.last_logits(same, net.trace(off)))


def test_given_scales_are_those_of_the_recorded_pass(model: SparseTransformer) -> None:
    tokens, net = pairs(4).tokens, model.network
    trace = net.trace(record=True)
    expected = net.last_logits(tokens, trace)
    torch.testing.assert_close(net.last_logits(tokens, net.trace(scales=trace.scales)), expected)
    half = Ablation(torch.ones_like(model.means), model.means, net.layout)
    half.mask[0, ::2] = 0
    free = net.last_logits(tokens, net.trace(half))
    assert not torch.allclose(net.last_logits(tokens, net.trace(half, scales=trace.scales)), free)
