"""Self-ablating transformers against an explicit loop over tokens, and their gates by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

import zoo
from tests.small_models import self_ablating
from zoo.circuits import SelfAblatingTransformer
from zoo.circuits.network.topk_gate import topk_gate


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_gates_are_hard_forward_and_soft_backward(temperature: float) -> None:
    scores = torch.tensor([[3.0, 1.0, 0.0, -1.0]], requires_grad=True)
    gates = topk_gate(scores, 2, temperature)
    assert gates.tolist() == [[1.0, 1.0, 0.0, 0.0]]
    weight = torch.tensor([0.3, -1.0, 2.0, 0.7])
    (found,) = torch.autograd.grad((gates * weight).sum(), scores)
    again = scores.detach().requires_grad_()
    best = again.sort(descending=True).values
    threshold, gap = (best[:, 1:2] + best[:, 2:3]) / 2, best[:, 1:2] - best[:, 2:3]
    soft = ((again - threshold) / (temperature * gap)).sigmoid()
    (expected,) = torch.autograd.grad((2 * soft / soft.sum(1, keepdim=True) * weight).sum(), again)
    torch.testing.assert_close(found, expected)


def test_equal_scores_leave_exactly_k_and_finite_gradients() -> None:
    scores = torch.zeros(2, 5, requires_grad=True)
    gates = topk_gate(scores, 2)
    assert gates.sum(1).tolist() == [2.0, 2.0]
    gates.square().sum().backward()
    assert bool(scores.grad.isfinite().all())


@pytest.mark.parametrize("gates", ["local", "global"])
def test_forward_is_the_loop_over_tokens(gates: str) -> None:
    small = self_ablating(gates=gates)
    net, k = small.model.network, small.model.k
    tokens = torch.randint(2, 30, (1, 6), generator=torch.Generator().manual_seed(0))
    padded = F.pad(tokens, (0, 6))

    def softmax_attention(block, q, keys, values) -> torch.Tensor:
        size, out = len(q) // block.heads, []
        for h in range(block.heads):
            part = slice(h * size, (h + 1) * size)
            weights = torch.stack([q[part] @ key[part] / size**0.5 for key in keys]).softmax(0)
            out.append(sum(w * value[part] for w, value in zip(weights, values, strict=True)))
        return torch.cat(out)

    def gelu(x: torch.Tensor) -> torch.Tensor:
        return x / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def top(scores: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(scores).index_fill(0, scores.topk(k).indices, 1.0)

    with torch.no_grad():
        start = [net.embedding.weight[t] + net.positions[i] for i, t in enumerate(tokens[0])]
        clean = [start]
        for block in net.blocks:
            qkv = [block.qkv(block.attn_norm(x)).chunk(3) for x in clean[-1]]
            after = []
            for i, x in enumerate(clean[-1]):
                keys, values = [t[1] for t in qkv[: i + 1]], [t[2] for t in qkv[: i + 1]]
                x = x + block.out(softmax_attention(block, qkv[i][0], keys, values))
                after.append(x + block.down(gelu(block.up(block.mlp_norm(x)))))
            clean.append(after)
        z, width = list(start), len(start[0])
        for n, block in enumerate(net.blocks):
            of_clean = [block.qkv(block.attn_norm(x)).chunk(3) for x in clean[n]]
            fresh = []
            for i, x in enumerate(z):
                scores = block.gates(clean[n][i]) if gates == "local" else net.gates(net.norm(clean[-1][i])).chunk(2)[n]
                own = block.qkv(block.attn_norm(x)).chunk(3)
                keys = [t[1] for t in of_clean[:i]] + [own[1]]
                values = [t[2] for t in of_clean[:i]] + [own[2]]
                x = x + block.out(softmax_attention(block, own[0], keys, values) * top(scores[:width]))
                hidden = gelu(block.up(block.mlp_norm(x))) * top(scores[width:])
                fresh.append(x + block.down(hidden))
            z = fresh
        expected = net.unembedding(net.norm(z[-1]))
        torch.testing.assert_close(small.model(padded)[0], expected, rtol=1e-4, atol=1e-5)


def test_checkpoints_of_the_exact_gelu_keep_it() -> None:
    assert SelfAblatingTransformer.upgrade_arguments({"k": 3})["gelu"] == "none"
    assert SelfAblatingTransformer.upgrade_arguments({"k": 3, "gelu": "tanh"})["gelu"] == "tanh"
    assert zoo.load("self-ablating-idioms").network.blocks[0].activation.approximate == "none"


def test_all_but_k_units_of_a_layer_are_zero() -> None:
    small = self_ablating()
    activation = small.model.explain(small.inputs).activation
    kinds = [unit.kind for unit in small.model.units()]
    channels = activation[:, [kind == "attention channel" for kind in kinds]].unflatten(1, (2, -1))
    neurons = activation[:, [kind == "neuron" for kind in kinds]].unflatten(1, (2, -1))
    assert int((channels != 0).sum(2).max()) <= small.model.k and int((neurons != 0).sum(2).max()) <= small.model.k
    clean = self_ablating(stream="clean").model.explain(small.inputs).activation
    assert int((clean != 0).sum(1).min()) > 100


def test_losses_by_hand() -> None:
    model = self_ablating().model.train()
    net, tokens, target = model.network, torch.randint(2, 30, (3, 12)), torch.tensor([4, 5, 6])
    scores, evidence = model.step(tokens)
    terms = model.losses(scores, evidence, {"input": tokens, "target": target})
    clean, ablated = net(tokens, model.k, model.temperature)
    following = torch.cat([tokens[:, 1:], target[:, None]], 1)
    for name, stream in (("clean", clean), ("ablated", ablated)):
        logits = net.unembedding(net.norm(stream[-1].after))
        torch.testing.assert_close(terms[name], F.cross_entropy(logits.mT, following))
    pairs = [(a.after, b.after) for a, b in zip(clean, ablated, strict=True)]
    pairs.append((net.norm(clean[-1].after), net.norm(ablated[-1].after)))
    apart = [F.mse_loss(F.normalize(a, dim=-1), F.normalize(b, dim=-1)) for a, b in pairs]
    torch.testing.assert_close(terms["reconstruction"], sum(apart) / 3)
    sum(terms.values()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


def test_padding_does_not_change_the_losses() -> None:
    model = self_ablating().model
    tokens = torch.randint(2, 30, (2, 12), generator=torch.Generator().manual_seed(0))
    tokens[:, 7:] = 0

    def terms() -> dict[str, torch.Tensor]:
        scores, evidence = model.step(tokens)
        return model.losses(scores, evidence, {"input": tokens, "target": torch.zeros(2, dtype=torch.long)})

    before = terms()
    with torch.no_grad():
        model.network.positions[7:].normal_()
    for name, term in terms().items():
        assert torch.equal(term, before[name]), name


@pytest.mark.parametrize("stream", ["ablated", "clean"])
def test_nats_are_those_of_the_explained_stream(stream: str) -> None:
    model = self_ablating(stream=stream).model
    batch = {"input": torch.randint(2, 30, (3, 12)), "target": torch.tensor([4, 5, 6])}
    with torch.no_grad():
        scores, evidence = model.step(batch["input"])
        found = model.update_metrics("val", scores, evidence, batch)["nats"].compute()
        torch.testing.assert_close(found, model.losses(scores, evidence, batch)[stream])


def test_it_learns_which_few_units_a_token_needs() -> None:
    """The first token follows at the end of the prompt, so attention must carry it there through k gates."""
    model = self_ablating(k=2).model.train()
    optimizer, draw = torch.optim.AdamW(model.parameters(), 1e-2), torch.Generator().manual_seed(0)
    for _ in range(80):
        first = torch.randint(2, 6, (32,), generator=draw)
        tokens = torch.randint(10, 30, (32, 12), generator=draw)
        tokens[:, 0], tokens[:, -1] = first, 9
        scores = model.step(tokens)[0]
        loss = F.cross_entropy(scores, first)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3  # chance among the four is 1.39


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 16}, "k must be from 1 to 15, below the width; got 16"),
        ({"temperature": 0.0}, "temperature must be above 0; got 0.0"),
        ({"gates": "both"}, "gates must be one of local, global; got 'both'"),
        ({"stream": "dark"}, "stream must be one of ablated, clean; got 'dark'"),
        ({"gelu": "fast"}, "gelu must be one of tanh, none; got 'fast'"),
        ({"width": 15}, "width must be a multiple of head_width"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        self_ablating(**options)
