"""The assignment of prototypes to slots: soft with noise, sharp, then hard."""

import math

import pytest
import torch
from torch.nn import functional as F

from zoo.prototypes.layers.assignment import PrototypeAssignment, overlap, sharpness_at


def test_slots_are_one_hot_at_the_end_and_simplices_before() -> None:
    slots = PrototypeAssignment(3, 2, 5, sharpness=1.0).train()
    soft = slots.sample()
    torch.testing.assert_close(soft.sum(2), torch.ones(3, 2))
    assert soft.amax(2).max() < 1
    assert not torch.equal(soft, slots.sample())  # drawn anew
    slots.harden()
    hard = slots.sample()
    assert torch.equal(hard, slots.eval().sample())
    assert torch.equal(hard, F.one_hot(slots.affinity.argmax(2), 5).float())


def test_a_sharp_choice_is_nearly_one_hot_without_noise() -> None:
    slots = PrototypeAssignment(3, 2, 5, sharpness=1000.0).eval()
    torch.testing.assert_close(slots.sample(), F.one_hot(slots.affinity.argmax(2), 5).float(), atol=1e-2, rtol=0)
    assert [sharpness_at(e, 4, 10.0) for e in range(6)] == pytest.approx(
        [5, 10 * math.sqrt(0.5), 10 * math.sqrt(0.75), 10, 10, 10]
    )


def test_overlap_by_hand() -> None:
    one, two = torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0])
    apart, same = torch.stack([one, two])[None], torch.stack([one, one])[None]
    assert overlap(apart) == 0 and overlap(same) == pytest.approx(1)
    assert overlap(torch.cat([apart, same])) == pytest.approx(0.5)
    three = torch.stack([one, one, two])[None]  # each of the first two meets one other, the third none
    assert overlap(three) == pytest.approx(2 / 3)
