"""ACDC on networks whose paths are known."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.circuits.tokens import pairs, prompts, transformer
from zoo.circuits import SparseTransformer, TokenPairTask, acdc
from zoo.circuits.analysis.graph import Graph


@pytest.mark.parametrize(
    "options", [{}, {"positions": {"width": 4}}, {"positions": {"kind": "added"}, "bigram": False}]
)
def test_the_graph_computes_what_the_network_does(options: dict) -> None:
    other = transformer(**options)
    tokens, graph = prompts(4)[0], Graph(other.network)
    with torch.no_grad():
        torch.testing.assert_close(graph.run(tokens).logits, other(tokens), rtol=1e-4, atol=1e-5)
        others = [torch.randn(4, 12, 32) for _ in graph.sources]
        again = graph.run(tokens, graph.exist, others).logits
        torch.testing.assert_close(again, other(tokens), rtol=1e-4, atol=1e-5)


def by_reader(graph: Graph, tokens: Tensor, kept: Tensor, others: list[Tensor]) -> Tensor:
    """The logits along the kept paths of a network without AbsTopK and sinks, one reader after the other."""
    net, size = graph.network, graph.network.layout.width // graph.heads
    written, biases = {"embedding": net.embedding(tokens)}, torch.zeros(32)

    def read(destination: str) -> Tensor:
        column = kept[:, graph.destinations.index(destination)]
        return biases + sum(
            its if column[s] else others[s] for s, its in enumerate(written[name] for name in list(written))
        )

    future = torch.ones(12, 12, dtype=torch.bool).triu(1)
    for i, block in enumerate(net.blocks):
        heads = {}
        for h in range(graph.heads):
            q, k, v = (
                F.linear(block.attn_norm(read(f"layer {i} head {h} {name}")), weight[part], bias[part])
                for name, weight, bias in zip(
                    ("query", "key", "value"), block.qkv.weight.chunk(3), block.qkv.bias.chunk(3), strict=True
                )
                for part in [slice(h * size, (h + 1) * size)]
            )
            weights = (q @ k.mT / size**0.5).masked_fill(future, -torch.inf).softmax(-1)
            heads[f"layer {i} head {h}"] = weights @ v @ block.out.weight[:, h * size : (h + 1) * size].T
        written |= heads
        biases = biases + block.out.bias
        written[f"layer {i} MLP"] = block.down(F.gelu(block.up(block.mlp_norm(read(f"layer {i} MLP")))))
    return net.logits(read("logits")[:, -1], tokens[:, -1])


def test_removed_paths_carry_the_given_values() -> None:
    graph = Graph(transformer(density=1.0, activation_density=1.0, sink=False).network)
    tokens, draw = prompts(4)[0], torch.Generator().manual_seed(0)
    others = [torch.randn(4, 12, 32, generator=draw) for _ in graph.sources]
    with torch.no_grad():
        for share in (0.2, 0.8):
            kept = graph.exist & (torch.rand(graph.exist.shape, generator=draw) < share)
            expected = by_reader(graph, tokens, kept, others)
            torch.testing.assert_close(graph.run(tokens, kept, others).logits, expected, rtol=1e-4, atol=1e-4)


def test_sublayers_before_the_first_change_need_not_run_again(model: SparseTransformer) -> None:
    graph, tokens, draw = Graph(model.network), prompts(4)[0], torch.Generator().manual_seed(0)
    whole = graph.run(tokens)
    others = [torch.randn(4, 12, 32, generator=draw) for _ in graph.sources]
    for start in range(5):
        later = torch.tensor(graph.sublayer) >= start
        kept = graph.exist & ~(later & (torch.rand(graph.exist.shape, generator=draw) < 0.5))
        full, short = graph.run(tokens, kept, others), graph.run(tokens, kept, others, whole, start)
        torch.testing.assert_close(short.logits, full.logits)
        assert len(short.written) == len(full.written) == len(graph.sources) and len(short.streams) == 5


def test_thresholds_that_keep_everything_and_nothing(model: SparseTransformer) -> None:
    task = pairs(4)
    everything = acdc(model, task, -torch.inf)
    assert torch.equal(everything.kept, Graph(model.network).exist) and everything.metric == pytest.approx(0, abs=1e-5)
    nothing = acdc(model, task, torch.inf)
    assert not nothing.paths
    last = nothing.destinations.index("logits")
    assert torch.isfinite(nothing.effect[:, last]).all() and nothing.effect[:, :last].isnan().all()


def test_every_kept_path_leads_on(model: SparseTransformer) -> None:
    found = acdc(model, pairs(8), 0.01)
    assert found.paths
    for _, destination in found.paths:
        reader = next(name for name in (*found.sources, "logits") if destination.startswith(name))
        assert reader == "logits" or reader in {source for source, _ in found.paths}


def test_it_finds_the_only_head_that_writes(model: SparseTransformer) -> None:
    """If only one head of the first layer writes anything, only paths through it can matter."""
    planted = copy.deepcopy(model)
    with torch.no_grad():
        for i, block in enumerate(planted.network.blocks):
            block.down.weight.zero_()
            block.out.weight[:, 8 if i == 0 else 0 :].zero_()
    found = acdc(planted, pairs(8), 1e-4)
    allowed = {("embedding", f"layer 0 head 0 {kind}") for kind in ("query", "key", "value")}
    assert set(found.paths) <= allowed | {("layer 0 head 0", "logits")}
    assert ("layer 0 head 0", "logits") in found.paths and ("embedding", "layer 0 head 0 value") in found.paths


def test_few_paths_solve_the_task(model: SparseTransformer) -> None:
    task = pairs(8)
    for ablation in ("counterfactual", "mean", "zero"):
        found = acdc(model, task, 0.01, metric="loss", ablation=ablation)
        assert found.metric < 0.3 and len(found.paths) < int(Graph(model.network).exist.sum()) / 2
        assert torch.isfinite(found.effect[found.kept]).all() and (found.effect[found.kept] >= 0.01).all()


def test_bad_input(model: SparseTransformer) -> None:
    with pytest.raises(ValueError, match="metric must be one of kl, loss; got 'auc'"):
        acdc(model, pairs(2), 0.1, metric="auc")
    task = pairs(2)
    tokens = task.tokens.clone()
    tokens[0, -1] = 0
    with pytest.raises(ValueError, match="have different numbers of tokens"):
        acdc(model, TokenPairTask(tokens, task.right, task.wrong), 0.1)
