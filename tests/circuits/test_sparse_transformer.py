"""The sparse transformer against explicit formulas, and its arguments."""

import pytest
import torch
from torch.nn import functional as F

from tests.circuits.tokens import LENGTH, prompts, transformer, windows
from tests.small_code import code_domain
from zoo.circuits import BridgedTransformer, SparseTransformer
from zoo.circuits.network.layout import SITES


def explicit(model: SparseTransformer, tokens: torch.Tensor) -> torch.Tensor:
    """Logits of the last token of one prompt, token by token and head by head."""
    net, keep = model.network, model.network.kept

    def top(x: torch.Tensor, site: str) -> torch.Tensor:
        order = x.abs().argsort(descending=True)[: keep[site]]
        out = torch.zeros_like(x)
        out[order] = x[order]
        return out

    def norm(x: torch.Tensor, module: torch.nn.RMSNorm) -> torch.Tensor:
        return x / (x.square().mean() + torch.finfo(torch.float32).eps).sqrt() * module.weight

    def read(x: torch.Tensor, at: int, site: str, own: torch.nn.RMSNorm, of_channels: torch.nn.RMSNorm | None):
        table = net.position_channels(LENGTH)
        channels = [] if table is None or of_channels is None else [norm(table[at], of_channels)]
        return top(torch.cat([norm(x, own), *channels]), site)

    stream = [net.embedding.weight[t] for t in tokens]
    if net.positions is not None and not net.channels:
        stream = [x + p for x, p in zip(stream, net.positions, strict=False)]
    for block in net.blocks:
        width = len(stream[0])
        norms = block.attn_norm, block.attn_position_norm
        qkv = [block.qkv.weight @ read(x, i, "attn_in", *norms) + block.qkv.bias for i, x in enumerate(stream)]
        q, k, v = ([top(x[i * width : (i + 1) * width], f"attn_{n}") for x in qkv] for i, n in enumerate("qkv"))
        size, fresh = width // block.heads, []
        for i, x in enumerate(stream):
            gathered = torch.zeros(width)
            for h in range(block.heads):
                part = slice(h * size, (h + 1) * size)
                weights = torch.stack([(q[i][part] @ k[j][part] / size**0.5).exp() for j in range(i + 1)])
                weights = weights / (weights.sum() + (block.sink[h].exp() if block.sink is not None else 0))
                gathered[part] = sum(w * v[j][part] for j, w in enumerate(weights))
            fresh.append(x + top(block.out.weight @ gathered + block.out.bias, "attn_out"))
        stream = fresh
        for i, x in enumerate(stream):
            seen = read(x, i, "mlp_in", block.mlp_norm, block.mlp_position_norm)
            hidden = F.gelu(block.up.weight @ seen + block.up.bias)
            stream[i] = x + top(block.down.weight @ top(hidden, "mlp_neuron") + block.down.bias, "mlp_out")
    logits = net.unembedding.weight @ norm(stream[-1], net.norm)
    return logits + net.bigram[tokens[-1]]


@pytest.mark.parametrize("positions", [None, *({"kind": k, "width": 7} for k in ("learned", "sinusoid", "added"))])
def test_forward_is_the_formula(positions: dict | None) -> None:
    model = transformer(positions=positions)
    torch.nn.init.normal_(model.network.blocks[0].sink)
    torch.nn.init.normal_(model.network.blocks[1].qkv.bias, std=0.1)
    tokens = prompts(2)[0]
    with torch.no_grad():
        for row in tokens:
            torch.testing.assert_close(model(row[None])[0], explicit(model, row), rtol=1e-4, atol=1e-4)


def test_padding_on_the_right_changes_nothing() -> None:
    model, tokens = transformer(), prompts(1)[0]
    short = torch.cat([tokens[:, :5], torch.zeros(1, LENGTH - 5, dtype=torch.long)], 1)
    with torch.no_grad():
        torch.testing.assert_close(model(short)[0], explicit(model, tokens[0, :5]), rtol=1e-4, atol=1e-4)


def test_the_language_loss_is_the_mean_over_positions() -> None:
    model, (tokens, answers) = transformer(), prompts(2)
    with torch.no_grad():
        scores, evidence = model.step(tokens)
        loss = model.losses(scores, evidence, {"input": tokens, "target": answers})["language"]
        whole = torch.cat([tokens, answers[:, None]], 1)
        each = [
            F.cross_entropy(explicit(model, row[:i])[None], row[i : i + 1]) for row in whole for i in range(1, len(row))
        ]
    torch.testing.assert_close(loss, torch.stack(each).mean(), rtol=1e-4, atol=1e-4)


def test_means_are_means_over_all_positions() -> None:
    model = transformer()
    model.average(windows())
    tokens = prompts(200, seed=1)[0]
    trace = model.network.trace(record=True)
    with torch.no_grad():
        model.network(tokens, trace, torch.zeros(200, dtype=torch.long))
    for site in SITES:
        part = model.network.layout.part(site)
        torch.testing.assert_close(model.means[1, part], trace.values[1, site].mean((0, 1)), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model.gathered[0], trace.values[0, "gathered"].mean((0, 1)), rtol=1e-4, atol=1e-6)


def test_units_are_the_writes_at_the_last_token(model: SparseTransformer) -> None:
    explanation = model.explain(prompts(3)[0])
    names = [unit.name for unit in explanation.units]
    assert names[-2:] == ["token embedding", "bigram table"] and "layer 1 neuron 127" in names
    bigram = model.network.bigram[6].detach()
    torch.testing.assert_close(explanation.contributions[:, -1], bigram[explanation.target])


def test_a_dense_model_has_no_zeros() -> None:
    model = transformer(density=1.0, activation_density=1.0)
    assert all(s.budget((1.0, 1.0)).keep == s.weight.numel() for s in model.sparse_parameters())
    trace = model.network.trace(record=True)
    model.network.last_logits(prompts(2)[0], trace)
    assert all(bool((v != 0).all()) for v in trace.values.values())


@pytest.mark.parametrize("kind", ["learned", "sinusoid", "added"])
def test_positions_are_read_and_not_written(kind: str) -> None:
    model = transformer(positions={"kind": kind, "width": 7})
    columns = 32 if kind == "added" else 39
    assert model.network.blocks[0].qkv.weight.shape == (96, columns)
    assert model.network.blocks[0].out.weight.shape == (32, 32)
    assert model.network.kept["attn_in"] == columns // 4  # AbsTopK selects among the channels too
    sparse = {id(s.weight) for s in model.sparse_parameters()}
    assert (id(model.network.positions) in sparse) == (kind == "added")
    model.explain(prompts(3)[0]).check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 30}, "width must be a multiple of head_width"),
        ({"sparsity": {"density": 0.0}}, r"density must be in \(0, 1\]; got 0.0"),
        ({"sparsity": {"density": 1 / 4096}}, "alive=4 for each of its 1536 neurons requires 6144"),
        ({"sparsity": {"densty": 0.5}}, "sparsity has no option 'densty'; did you mean 'density'"),
        ({"positions": "rotary"}, "positions must be a mapping of options; got 'rotary'"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SparseTransformer(code_domain(LENGTH), layers=1, **options)


def test_arguments_of_earlier_checkpoints_are_grouped() -> None:
    flat = {"width": 8, "density": 0.5, "sparse_biases": True, "positions": "sinusoid", "position_width": 6, "lr": 0.1}
    upgraded = SparseTransformer.upgrade_arguments(flat)
    assert upgraded == {
        "width": 8,
        "sparsity": {"density": 0.5, "biases": True},
        "positions": {"kind": "sinusoid", "width": 6},
        "recipe": {"lr": 0.1},
    }
    assert SparseTransformer.upgrade_arguments(upgraded) == upgraded
    assert SparseTransformer.upgrade_arguments({"positions": None, "position_width": 32}) == {"positions": None}
    bridged = BridgedTransformer.upgrade_arguments({"dense": {"density": 1.0}, "sparse": {"alive": 2}})
    assert bridged == {"dense": {"sparsity": {"density": 1.0}}, "sparse": {"sparsity": {"alive": 2}}}


def test_only_circuits_adjust_an_explanation() -> None:
    with pytest.raises(TypeError, match=r"circuit must be a zoo\.circuits\.Circuit; got str"):
        transformer().explain(prompts(1)[0], circuit="quotes")
