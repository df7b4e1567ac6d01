"""The search for the nodes of a circuit."""

import pytest
import torch

from tests.circuits.tokens import disturbed, pairs
from zoo.circuits import Circuit, Pruning, SparseTransformer
from zoo.circuits.analysis.mask_search import StraightThroughStep, smallest_mask
from zoo.circuits.analysis.token_pair_task import evaluate_task
from zoo.circuits.network.trace import Ablation


def test_the_step_is_hard_forward_and_soft_backward() -> None:
    logit = torch.tensor([-0.5, 0.0, 2.0], requires_grad=True)
    mask = StraightThroughStep.apply(logit, 2.0)
    assert mask.tolist() == [0.0, 1.0, 1.0]
    mask.sum().backward()
    soft = torch.sigmoid(logit.detach() / 2)
    torch.testing.assert_close(logit.grad, soft * (1 - soft) / 2)


def test_bisection_finds_the_fewest_nodes_of_a_ranking(model: SparseTransformer) -> None:
    """Nodes in any order reach the target with all of them; one node less than what is found does not."""
    task, layout = pairs(8), model.network.layout
    ranking = torch.rand(model.means.shape, generator=torch.Generator().manual_seed(0))
    mask = smallest_mask(model, task, ranking, target=0.15)

    def loss(kept: torch.Tensor) -> float:
        return evaluate_task(model.network, task, Ablation(kept.float(), model.means, layout))["loss"]

    assert int(mask.sum()) > 0 and ranking[mask].min() > ranking[~mask].max() and loss(mask) <= 0.15
    less = mask & (ranking > ranking[mask].min())
    assert int(less.sum()) == int(mask.sum()) - 1 and loss(less) > 0.15


def test_bisection_goes_on_from_the_fitted_nodes_if_the_network_misses_the_target(
    model: SparseTransformer, circuit: Circuit
) -> None:
    other, logits = disturbed(model, circuit.mask)
    task, layout = pairs(8), model.network.layout
    assert evaluate_task(other.network, task)["loss"] > 0.4
    mask = smallest_mask(other, task, logits, target=0.4)
    assert 0 < int(mask.sum()) < int((logits >= 0).sum()) and bool((logits[mask] >= 0).all())
    assert evaluate_task(other.network, task, Ablation(mask.float(), other.means, layout))["loss"] <= 0.4
    assert torch.equal(smallest_mask(other, task, logits, target=1e-9), logits >= 0)  # nothing reaches this target


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 0.8}, "between 0 and chance, ln 2"),
        ({"penalties": ()}, "expected penalties above 0"),
        ({"steps": 0}, "steps >= 1"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pruning(**options)
