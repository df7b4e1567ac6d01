"""Steering a dense network by a node of a sparse one."""

import pytest
import torch

from tests.circuits.bridged import bridged, equivalent
from tests.circuits.tokens import pairs
from zoo.circuits import ReadNode, rank_reads, steer
from zoo.circuits.analysis.token_pair_task import TokenPairTask, logit_differences

STRENGTHS = (0.0, 0.5, 1.0)
NODES = [ReadNode(0, "attn_in", 3), ReadNode(0, "mlp_in", 31), ReadNode(1, "attn_in", 0), ReadNode(1, "mlp_in", 17)]


def quotes(count: int = 4) -> tuple[TokenPairTask, torch.Tensor]:
    """Prompts, and counterfactuals that differ in their first token."""
    task = pairs(count)
    return task, task.tokens.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


@pytest.mark.parametrize("node", NODES, ids=str)
def test_no_strength_changes_nothing(node: ReadNode) -> None:
    model, (task, other) = bridged(), quotes()
    found = steer(model, task, other, node, STRENGTHS, random=2)
    with torch.no_grad():
        dense, sparse = (torch.sigmoid(-logit_differences(n, task)) for n in (model.dense, model.sparse.network))
        there = torch.sigmoid(-logit_differences(model.dense, TokenPairTask(other, task.right, task.wrong)))
    torch.testing.assert_close(found.dense[0], dense)
    torch.testing.assert_close(found.sparse[0], sparse)
    assert all(torch.equal(found.random[r, 0], found.dense[0]) for r in range(2))
    torch.testing.assert_close(found.counterfactual, there)
    assert found.dense.shape == (3, 8) and found.random.shape == (2, 3, 8)


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("node", NODES, ids=str)
def test_equivalent_networks_are_steered_equally(node: ReadNode, scale: float) -> None:
    """The rescaling compensates for the size of the dense stream and the gains of its norms."""
    task, other = quotes()
    found = steer(equivalent(scale), task, other, node, STRENGTHS)
    torch.testing.assert_close(found.dense, found.sparse, rtol=1e-4, atol=1e-5)


def test_a_node_that_changes_moves_the_dense_network() -> None:
    model, (task, other) = equivalent(2.0), quotes()
    (node, rise), *_ = rank_reads(model, task, other)
    found = steer(model, task, other, node, STRENGTHS, random=3)
    assert rise > 0
    assert float((found.dense[2] - found.dense[0]).abs().max()) > 1e-3
    for random in found.random:
        assert not torch.allclose(random[2], found.dense[2], atol=1e-4)


def test_the_ranking_is_the_slope_of_the_sparse_network() -> None:
    model, (task, other) = bridged(), quotes()
    ranked = rank_reads(model, task, other)
    assert len(ranked) == len({node for node, _ in ranked}) == 4 * 32
    assert [rise for _, rise in ranked] == sorted((rise for _, rise in ranked), reverse=True)
    step = 1e-2
    for node, rise in (ranked[0], ranked[3], ranked[-1]):
        curve = torch.logit(steer(model, task, other, node, (0.0, step)).sparse.double()).mean(1)
        assert float((curve[1] - curve[0]) / step) == pytest.approx(rise, rel=0.1, abs=1e-3)


def test_frozen_networks_are_ranked_as_well() -> None:
    model, (task, other) = bridged(), quotes()
    before = rank_reads(model, task, other)
    model.requires_grad_(False)
    assert rank_reads(model, task, other) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"node": ReadNode(2, "attn_in", 0)}, "layers are 0 to 1"),
        ({"node": ReadNode(0, "attn_out", 0)}, "sites attn_in and mlp_in"),
        ({"node": ReadNode(0, "attn_in", 32)}, "channels 0 to 31"),
        ({"strengths": (0.0, 1.5)}, r"strengths must be at least one number in \[0, 1\]; got \[0.0, 1.5\]"),
        ({"strengths": ()}, "at least one"),
        ({"counterfactual": torch.ones(3, 12, dtype=torch.long)}, r"\(8, 12\); got \(3, 12\)"),
        ({"counterfactual": quotes()[1] * (torch.arange(12) < 11)}, r"prompt 0 .*\(8 of 8 such prompts\)"),
    ],
)
def test_bad_requests(change: dict, message: str) -> None:
    task, other = quotes()
    given = {"counterfactual": other, "node": NODES[0], **change}
    with pytest.raises(ValueError, match=message):
        steer(bridged(), task, **given)
