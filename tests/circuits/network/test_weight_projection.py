"""The projection: exactly k non-zeros, the least alive in each neuron, ties by index; against a stable sort."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.circuits.kernels.test_topk import in_interpreter, needs_triton
from zoo.circuits.network.weight_projection import Budget, Projector


def by_sorting(weight: Tensor, budget: Budget) -> Tensor:
    """The projection by sorting: the largest non-zeros of each neuron first, then all others."""
    if int(weight.count_nonzero()) <= budget.keep:
        return weight.clone()
    size, other = weight.abs().double(), 1 - budget.axis
    if budget.alive:
        order = size.sort(dim=other, descending=True, stable=True).indices
        best = order.narrow(other, 0, min(budget.alive, size.shape[other]))
        size[torch.zeros_like(size, dtype=torch.bool).scatter(other, best, True) & (size > 0)] = torch.inf
    out, order = weight.clone(), size.flatten().sort(descending=True, stable=True).indices
    out.view(-1)[order[budget.keep :]] = 0
    return out


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Budget]:
    rows, columns = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    torch.manual_seed(draw(st.integers(0, 2**20)))
    weight = torch.randn(rows, columns)
    kind = draw(st.sampled_from(["dense", "ties", "weak neurons", "sparse"]))
    if kind == "ties":
        weight = torch.randint(-3, 4, (rows, columns)).float()
    elif kind == "weak neurons":
        weight[torch.rand(rows) < 0.5] *= 0.01
        weight[:, torch.rand(columns) < 0.5] *= 0.01
    elif kind == "sparse":
        weight *= torch.rand(rows, columns) < 0.2
    weight = weight.to(draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16])))
    keep, axis = draw(st.integers(1, rows * columns)), draw(st.integers(0, 1))
    neurons = weight.shape[axis]
    return weight, Budget(keep, draw(st.integers(0, keep // neurons)), axis)


@given(cases())
def test_it_equals_sorting_and_is_idempotent(case: tuple[Tensor, Budget]) -> None:
    weight, budget = case
    projected = weight.clone()
    projector = Projector([projected])
    projector([budget])
    expected = by_sorting(weight, budget)
    assert torch.equal(projected, expected)
    nonzero = weight != 0
    assert int(projected.count_nonzero()) == min(budget.keep, int(nonzero.sum()))
    assert ((projected != 0).sum(1 - budget.axis) >= nonzero.sum(1 - budget.axis).clamp(max=budget.alive)).all()
    projector([budget])
    assert torch.equal(projected, expected)


@given(cases())
def test_other_devices_agree(case: tuple[Tensor, Budget]) -> None:
    """The search of devices without Triton, run on the CPU."""
    weight, budget = case
    if budget.keep < weight.numel():
        projected = [weight.clone(), -weight.clone()]
        Projector(projected)._on_device((0, 1), budget)
        assert torch.equal(projected[0], by_sorting(weight, budget))
        assert torch.equal(projected[1], -projected[0])


def test_results_do_not_depend_on_earlier_steps() -> None:
    """A used and a new projector agree; otherwise a resumed run would differ."""
    weight = torch.randn(40, 30)
    weight[::3] *= 0.05
    used = [weight.clone(), weight.T.clone()]
    projector = Projector(used)
    for step in range(12):
        fresh = copy.deepcopy(used)
        budgets = [Budget(1100 - 80 * step, 4, 0), Budget(1100 - 80 * step, 5, 1)]
        projector(budgets)
        Projector(fresh)(budgets)
        assert all(torch.equal(a, b) for a, b in zip(used, fresh, strict=True))
        for matrix in used:
            matrix.add_(0.1 * torch.randn_like(matrix))


def test_strides_infinities_and_autograd() -> None:
    weight = torch.randn(9, 7)
    weight[2, 3], weight[4, 4] = torch.inf, -torch.inf
    strided = torch.empty(7, 9).T.copy_(weight)
    Projector([strided])([Budget(5)])
    assert torch.equal(strided, by_sorting(weight, Budget(5))) and strided.count_nonzero() == 5
    learned = torch.nn.Parameter(weight.nan_to_num(9.0))
    loss = learned.square().sum()
    Projector([learned])([Budget(5)])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ([Budget(100)], "expected 2 budgets, one per weight; got 1"),
        (
            [Budget(10), Budget(20, alive=4)],
            r"a matrix \(6, 8\) with 20 non-zeros cannot have 4 in each of its 6 rows, which requires 24; increase the "
            r"density above 0.5 or decrease alive",
        ),
        ([Budget(10), Budget(30, alive=4, axis=1)], "with 30 non-zeros cannot have 4 in each of its 8 columns"),
    ],
)
def test_budgets_that_cannot_be_satisfied_change_nothing(budgets: list[Budget], message: str) -> None:
    weights = [torch.randn(6, 8), torch.randn(6, 8)]
    before = copy.deepcopy(weights)
    with pytest.raises(ValueError, match=message):
        Projector(weights)(budgets)
    assert all(torch.equal(a, b) for a, b in zip(weights, before, strict=True))


@pytest.mark.parametrize("arguments", [{"keep": 0}, {"keep": 4, "alive": -1}, {"keep": 4, "axis": 2}])
def test_bad_budgets(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"requires keep >= 1, alive >= 0 and axis 0 or 1; got Budget\(keep="):
        Budget(**arguments)


def test_only_floating_point_matrices() -> None:
    with pytest.raises(
        ValueError, match=r"projection requires floating-point matrices; got torch.float32 of shape \(3,\)"
    ):
        Projector([torch.randn(3)])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuda_equals_the_cpu(dtype: torch.dtype) -> None:
    start = [
        torch.randn(256, 300),
        torch.randint(-40, 41, (256, 300)).float(),
        torch.randn(300, 100),
        torch.randn(9, 8),
    ]
    weights = [w.to(dtype) for w in start]
    on_device = [w.cuda() for w in weights]
    projectors = Projector(weights), Projector(on_device)
    for keep in (60_000, 20_000, 5_000, 1_500):
        budgets = [Budget(keep, 4), Budget(keep, 4), Budget(keep, 4, 1), Budget(min(keep, 72))]
        for projector in projectors:
            projector(budgets)
        for ours, theirs in zip(weights, on_device, strict=True):
            assert torch.equal(ours, theirs.cpu())
            noise = 0.1 * torch.randn_like(ours)
            ours.add_(noise)
            theirs.copy_(ours)


@needs_triton
def test_the_search_in_triton_s_interpreter() -> None:
    in_interpreter("""
from zoo.circuits.kernels.selection import largest_of_each as expected
from zoo.circuits.kernels import triton_threshold
from zoo.circuits.kernels.triton_threshold import largest_of_each
triton_threshold.BLOCK, triton_threshold.STEPS = 128, 2  # several programs for few entries
x = torch.randn(2, 300)
x[1] = torch.randint(-9, 10, (300,))
sizes = x.view(torch.int32) & (2**31 - 1)
sizes[0, :1] = 2**31 - 1
near = None
for keep in (70, 75):
    right = expected(sizes, keep)
    kept, near = largest_of_each(sizes, keep, near)
    assert torch.equal(kept, right) and kept.sum(1).tolist() == [keep, keep], keep
print("equal")
""")
