"""Exclusive groups: which labels are complete."""

import torch

from zoo.concepts.layers.groups import complete_labels


def test_a_group_of_which_a_label_is_missing_is_left_as_it_is() -> None:
    labels = torch.tensor([[1.0, torch.nan, 1.0, torch.nan, 0.0], [torch.nan, 0.0, 0.0, 1.0, 0.0]])
    assert complete_labels(labels, [[2, 3, 4]]).tolist() == [
        [True, False, False, False, False],
        [False, True, True, True, True],
    ]
    assert torch.equal(complete_labels(labels, []), labels.isfinite())
