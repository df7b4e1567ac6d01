"""The sparse optimizer: the order of its operations, and exactly k non-zeros after every step."""

import math
from itertools import pairwise

import pytest
import torch

from tests.circuits.tokens import prompts, transformer
from zoo.circuits import SparseTransformer
from zoo.circuits.network.optimizer import SparseAdam, SparseParameter, normalise
from zoo.circuits.network.schedule import Schedule


def test_normalise_divides_by_the_root_mean_square_of_all() -> None:
    gradients = [torch.tensor([3.0, 4.0]), torch.tensor([[0.0, 0.0]])]
    normalise(gradients)
    rms = math.sqrt(25 / 4) + 1e-5
    torch.testing.assert_close(gradients[0], torch.tensor([3.0, 4.0]) / rms)


def test_one_step_by_hand() -> None:
    """Normalisation, Adam, projection and decay, in this order."""
    weight = torch.nn.Parameter(torch.tensor([[1.0, -2.0], [0.5, 0.25]]))
    group = {"params": [weight], "lr": 0.1, "weight_decay": 0.5}
    schedule = Schedule(10, 0.5, 0.5, end=0, warmup=0)
    optimizer = SparseAdam([group], [SparseParameter(weight)], schedule=schedule)
    gradient = torch.tensor([[2.0, 0.0], [0.0, -2.0]])
    weight.grad = gradient.clone()
    before = weight.detach().clone()
    optimizer.step()
    normal = gradient / (math.sqrt(2) + 1e-5)
    after = before - 0.1 * normal / (normal.abs() + 0.1)  # the first step of Adam: m = g, v = g²
    after[1, 1] = after[1, 0] = 0  # the two smallest magnitudes
    torch.testing.assert_close(weight.detach(), after * (1 - 0.5 * 0.1))
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_budgets_are_rounded_down() -> None:
    assert SparseParameter(torch.zeros(10, 10)).budget((0.019, 1.0)).keep == 1
    assert SparseParameter(torch.zeros(10, 10), embedding=True).budget((1.0, 0.999)).keep == 99
    assert SparseParameter(torch.zeros(2, 2)).budget((0.1, 1.0)).keep == 1


def test_exactly_k_are_left_after_every_step_and_zeros_grow_again() -> None:
    model = SparseTransformer(transformer().domain, 32, 2, 8, sparsity={"density": 0.125, "alive": 2})
    optimizer = model.configure_optimizers()
    optimizer.param_groups[0]["lr"] = 0.3  # steps must be larger than the smallest weight that is kept
    optimizer.schedule = Schedule(12, model.density, model.embedding_density, end=0.5)
    masks = []
    for optimizer.step_index in range(12):
        optimizer.zero_grad()
        tokens, answers = prompts(8, seed=optimizer.step_index)
        torch.nn.functional.cross_entropy(model.step(tokens)[0], answers).backward()
        optimizer.step()
        densities = optimizer.schedule.densities(optimizer.step_index + 1)
        for sparse in model.sparse_parameters():
            budget = sparse.budget(densities)
            assert int((sparse.weight != 0).sum()) == budget.keep
            assert int((sparse.weight != 0).sum(1 - sparse.axis).min()) >= budget.alive
        masks.append(model.network.blocks[0].up.weight.detach() != 0)
    grown = (bool((after & ~before).any()) for before, after in pairwise(masks))
    assert any(grown), "no weight became non-zero again"


def test_the_bigram_table_and_norms_stay_dense_and_do_not_decay() -> None:
    model = transformer()
    optimizer = model.configure_optimizers()
    sparse = {id(s.weight) for s in optimizer.sparse}
    assert id(model.network.bigram) not in sparse and id(model.network.bigram) in optimizer.exempt
    assert all(s.weight.ndim == 2 for s in optimizer.sparse)


def test_a_step_without_gradients_changes_nothing() -> None:
    model = transformer()
    before = {name: p.clone() for name, p in model.named_parameters()}
    model.configure_optimizers().step(lambda: None)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_no_step_without_a_schedule() -> None:
    model = transformer()
    model.step(prompts(2)[0])[0].sum().backward()
    with pytest.raises(RuntimeError, match="no schedule yet"):
        model.configure_optimizers().step()


def test_a_density_that_cannot_hold_the_least_of_each_neuron() -> None:
    with pytest.raises(
        ValueError, match=r"keeps 30 of the 3072 entries .* alive=4 for each of its 96 neurons requires 384"
    ):
        transformer(density=0.01)


def test_the_task_is_learned(model: SparseTransformer) -> None:
    tokens, answers = prompts(100, seed=9)
    assert float((model(tokens).argmax(1) == answers).float().mean()) > 0.97
