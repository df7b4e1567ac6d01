"""ACDC on networks whose paths are known."""

import copy

import pytest
import torch

from tests.circuits.tokens import pairs, prompts, taught, transformer
from zoo.circuits import Choice, SparseTransformer, acdc
from zoo.circuits.acdc import Graph


@pytest.fixture(scope="module")
def model() -> SparseTransformer:
    return taught()


@pytest.mark.parametrize("options", [{}, {"positions": "sinusoid", "position_width": 4}, {"bigram": False}])
def test_the_graph_computes_what_the_network_does(options: dict) -> None:
    other = transformer(**options)
    tokens, graph = prompts(4)[0], Graph(other.network)
    with torch.no_grad():
        torch.testing.assert_close(graph.run(tokens, graph.exist, None)[1], other(tokens), rtol=1e-4, atol=1e-5)
        others = [torch.randn(4, 12, 32) for _ in graph.sources]
        torch.testing.assert_close(graph.run(tokens, graph.exist, others)[1], other(tokens), rtol=1e-4, atol=1e-5)


def test_thresholds_that_keep_everything_and_nothing(model: SparseTransformer) -> None:
    choice = pairs(4)
    everything = acdc(model, choice, -torch.inf)
    assert torch.equal(everything.kept, Graph(model.network).exist) and everything.metric == pytest.approx(0, abs=1e-5)
    assert not acdc(model, choice, torch.inf).paths


def test_it_finds_the_one_head_that_there_is(model: SparseTransformer) -> None:
    """Of a network in which but one head of the first layer writes anything, only paths through it can matter."""
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
    choice = pairs(8)
    for ablation in ("counterfactual", "mean", "zero"):
        found = acdc(model, choice, 0.01, metric="loss", ablation=ablation)
        assert found.metric < 0.3 and len(found.paths) < int(Graph(model.network).exist.sum()) / 2
        assert torch.isfinite(found.effect[found.kept]).all()


def test_bad_input(model: SparseTransformer) -> None:
    with pytest.raises(ValueError, match="metric must be one of kl, loss; got 'auc'"):
        acdc(model, pairs(2), 0.1, metric="auc")
    choice = pairs(2)
    tokens = choice.tokens.clone()
    tokens[0, -1] = 0
    with pytest.raises(ValueError, match="differ in their number of tokens"):
        acdc(model, Choice(tokens, choice.right, choice.wrong), 0.1)
