"""Masked passes: chunks, duplicates and skipped groups do not change the result."""

import pytest
import torch
from torch import Tensor

from zoo.parts.layers.masked_passes import Footprint, first_of_equals, run_groups


class Counted:
    """Runs a linear map on the kept part of each row, and counts the rows."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.rows, self.largest = x, 0, 0
        self.weight = torch.randn(x.shape[1], 3, generator=torch.Generator().manual_seed(1)).requires_grad_()

    def __call__(self, index: Tensor, mask: Tensor) -> Tensor:
        self.rows, self.largest = self.rows + len(index), max(self.largest, len(index))
        return (self.x[index] * mask) @ self.weight

    def plain(self, masks: Tensor) -> Tensor:
        return (self.x[:, None] * masks) @ self.weight


def masks_with_twins() -> Tensor:
    torch.manual_seed(0)
    masks = torch.rand(3, 6, 5) < 0.5
    masks[0, 4], masks[1, 5], masks[2, 3] = masks[0, 1], masks[1, 0], masks[1, 3]  # the last is another input's
    masks[2, 5] = masks[2, 2] = masks[2, 0]
    return masks


def test_equal_masks_are_found_within_an_input_only() -> None:
    masks = masks_with_twins()
    found = first_of_equals(masks)
    for b in range(3):
        for m in range(6):
            assert found[b, m] == next(i for i in range(6) if torch.equal(masks[b, i], masks[b, m]))


@pytest.mark.parametrize("rows", [1, 4, 7, 100])
@pytest.mark.parametrize("float_masks", [False, True])
def test_chunks_and_twins_change_nothing(rows: int, float_masks: bool) -> None:
    masks, run = masks_with_twins(), Counted(torch.randn(3, 5))
    given = masks.float() if float_masks else masks
    with torch.no_grad():
        found = run_groups(run, given, None, rows)
    torch.testing.assert_close(found, run.plain(masks))
    twins = 0 if float_masks else int((first_of_equals(masks) != torch.arange(6)).sum())
    assert run.rows == 18 - twins and run.largest == min(rows, 18 - twins)
    assert twins >= 4 or float_masks


def test_unwanted_groups_are_not_run_unless_a_wanted_one_has_the_same_mask() -> None:
    masks, run = masks_with_twins(), Counted(torch.randn(3, 5))
    wanted = torch.zeros(3, 6, dtype=torch.bool)
    wanted[0, 4] = wanted[2, 5] = wanted[1, 2] = True
    with torch.no_grad():
        found, plain = run_groups(run, masks, wanted, 100), run.plain(masks)
    assert run.rows == 3
    torch.testing.assert_close(found[wanted], plain[wanted])
    assert not found[0, 0].any()
    with torch.no_grad():
        assert run_groups(run, masks, torch.zeros_like(wanted), 100).shape == (3, 6, 3)  # none at all


def test_gradients_are_those_of_the_plain_form_in_chunks_too() -> None:
    masks, run = masks_with_twins(), Counted(torch.randn(3, 5))
    target = torch.randn(3, 6, 3)
    (run_groups(run, masks, None, 4) * target).sum().backward()
    chunked, run.weight.grad = run.weight.grad, None
    (run.plain(masks) * target).sum().backward()
    torch.testing.assert_close(chunked, run.weight.grad)
    soft = masks.float().requires_grad_()
    run_groups(run, soft, None, 4).square().sum().backward()
    mine, soft.grad = soft.grad, None
    run.plain(soft).square().sum().backward()
    torch.testing.assert_close(mine, soft.grad)


def test_the_footprint_of_a_network() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(10, 100), torch.nn.ReLU(), torch.nn.Linear(100, 1))
    footprint = Footprint(network, lambda: network(torch.zeros(1, 10)))
    assert footprint.forward == 2 * 4 * (100 + 100)
    assert footprint.training > 4 * (100 + 100 + 1)
    assert footprint.rows(16_000, False) == 10 and footprint.rows(1, True) == 1
