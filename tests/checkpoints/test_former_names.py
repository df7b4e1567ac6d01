"""Tensors of earlier checkpoints are found under the names that the model has now."""

import torch

from zoo.checkpoints.load import rename_tensors

NAMES = {"percentiles": "annotated.percentiles", "head": "head.linear", "head.linear.old": "unused"}


def renamed(*stored: str, known: tuple[str, ...] = ()) -> list[str]:
    return list(rename_tensors({name: torch.zeros(1) for name in stored}, NAMES, known))


def test_a_tensor_and_all_tensors_of_a_module_are_renamed() -> None:
    assert renamed("percentiles", "head.weight") == ["annotated.percentiles", "head.linear.weight"]


def test_other_names_with_the_same_start_are_left() -> None:
    assert renamed("percentiles_of", "headless.weight") == ["percentiles_of", "headless.weight"]


def test_present_names_are_left() -> None:
    """Regression: `head.linear.weight` starts with `head`, the former name of `head.linear`."""
    known = ("head.linear.weight", "annotated.percentiles")
    assert renamed("head.linear.weight", "annotated.percentiles", known=known) == list(known)


def test_parts_of_a_sparse_tensor_are_renamed_together() -> None:
    assert renamed("head.weight::values", "head.weight::bits") == [
        "head.linear.weight::values",
        "head.linear.weight::bits",
    ]
