"""Forward passes with ablated nodes and with scales of norms from another pass."""

import torch

from tests.circuits.tokens import pairs, prompts, transformer, windows
from zoo.circuits import SparseTransformer
from zoo.circuits.network.trace import Ablation, Trace


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


def test_the_last_block_alone_gives_the_logits_of_the_whole_pass() -> None:
    model, tokens = transformer(), prompts(4)[0]
    model.average(windows())
    net = model.network
    tokens[1, 7:] = tokens[2, 3:] = 0  # padding
    masks = (torch.rand(4, *model.means.shape, generator=torch.Generator().manual_seed(0)) < 0.7).float()
    weight, bias = net.blocks[1].down.weight.detach() * 0.5, net.blocks[1].down.bias.detach() + 1
    whole = Ablation(masks, model.means, net.layout, {(1, "down"): (weight, bias)})
    for ablation in (None, whole):
        with torch.no_grad():
            expected = net.last_logits(tokens, net.trace(ablation, record=True))  # which needs all positions
            torch.testing.assert_close(net.last_logits(tokens, net.trace(ablation)), expected)


def test_hooks_see_what_layers_compute_and_change_nothing(model: SparseTransformer) -> None:
    """Outputs of a layer are overwritten by AbsTopK only if no hook sees them."""
    tokens, block, seen = prompts(4)[0], model.network.blocks[0], {}
    with torch.no_grad():
        expected = model(tokens)
        layers = {name: getattr(block, name) for name in ("attn_norm", "qkv", "out", "mlp_norm", "up", "down")}
        hooks = [
            layer.register_forward_hook(lambda m, x, y, name=name: seen.update({name: (x[0].clone(), y)}))
            for name, layer in layers.items()
        ]
        assert torch.equal(model(tokens), expected)
        for hook in hooks:
            hook.remove()
    assert len(seen) == len(layers)
    for name, (x, y) in seen.items():
        assert torch.equal(y, layers[name](x)), name


def test_sites_of_one_matrix_may_keep_different_numbers(model: SparseTransformer) -> None:
    net, x = model.network, torch.randn(2, 5, 3 * model.network.layout.width)
    sites = ("attn_q", "attn_k", "attn_v")
    for kept in (net.kept, {**net.kept, "attn_k": 3}):
        trace = Trace(kept, record=True)
        parts = trace.split_at(0, sites, x.clone(), overwrite=True)
        for site, part, values in zip(sites, parts, x.chunk(3, -1), strict=True):
            assert torch.equal(part, Trace(kept).at(0, site, values)) and trace.values[0, site] is part
