"""Reduced channels: Fisher's discriminants against the eigenvectors that define them, and options that cannot be."""

import pytest
import torch
from torch import Tensor

from zoo.prototypes.layers.reduction import Reduction, fisher_discriminants, upgrade_reduction


def drawn() -> tuple[Tensor, Tensor]:
    """40 vectors of six channels, of four classes of different size that differ in the first two channels alone."""
    draw = torch.Generator().manual_seed(0)
    target = torch.tensor([0] * 4 + [1] * 8 + [2] * 12 + [3] * 16)
    centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 2.0], [4.0, 2.0]])
    x = torch.randn(40, 6, generator=draw) * torch.tensor([1.0, 1.0, 9.0, 1.0, 1.0, 0.1])
    x[:, :2] += centres[target]
    return x, target


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
def test_discriminants_are_eigenvectors_of_the_scatters(shrinkage: float) -> None:
    x, target = drawn()
    found = fisher_discriminants(x, target, 3, shrinkage).double()
    within, between, x = torch.zeros(6, 6).double(), torch.zeros(6, 6).double(), x.double()
    for c in range(4):
        own = x[target == c]
        between += len(own) / 40 * torch.outer(own.mean(0) - x.mean(0), own.mean(0) - x.mean(0))
        for row in own:
            within += torch.outer(row - own.mean(0), row - own.mean(0)) / 40
    within = (1 - shrinkage) * within + shrinkage * within.trace() / 6 * torch.eye(6)
    largest = torch.linalg.eigvals(torch.linalg.inv(within) @ between).real.sort(descending=True).values[:3]
    torch.testing.assert_close(found.T @ within @ found, torch.eye(3).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.T @ between @ found, largest.diag(), rtol=1e-4, atol=1e-4)


def test_they_ignore_channels_that_vary_within_classes_alone() -> None:
    x, target = drawn()
    weight = fisher_discriminants(x, target, 2, 0.0) * x.std(0)[:, None]
    assert weight[:2].abs().max() > 5 * weight[2].abs().max()  # the channel of largest variance
    components = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[0].abs()
    assert components.argmax() == 2


def test_a_spread_that_is_not_determined_needs_shrinkage() -> None:
    x, target = torch.randn(8, 20, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    with pytest.raises(ValueError, match=r"in all 20 channels, which 8 images of 2 classes do not show; .*got 0\.0"):
        fisher_discriminants(x, target, 1, 0.0)
    assert fisher_discriminants(x, target, 1, 0.1).isfinite().all()
    with pytest.raises(ValueError, match="do not show"):
        fisher_discriminants(target[:, None].float(), target, 1, 0.5)  # no spread at all


def test_numbers_of_columns() -> None:
    assert Reduction().columns(8, 3) == 0 and Reduction(dim=8).columns(8, 3) == 8
    discriminants = Reduction("discriminants")
    assert discriminants.columns(8, 3) == 2 and discriminants.columns(8, 30) == 8
    assert Reduction("discriminants", dim=1).columns(8, 3) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 9}, "dim must be 1 to 8, the channels of this backbone, or None; got 9"),
        ({"dim": 0}, "dim must be 1 to 8"),
        ({"method": "discriminants", "dim": 3}, "dim must be 1 to 2, .*one less than the classes, or None; got 3"),
        ({"method": "fisher"}, "method must be one of components, discriminants; got 'fisher'"),
        ({"whiten": 0.5}, "whiten is of components and needs their number: give dim"),
        ({"method": "discriminants", "dim": 2, "whiten": 0.5}, "whiten is of components"),
        ({"dim": 2, "whiten": 1.5}, "whiten must be .*1.5"),
        ({"shrinkage": -0.1}, "shrinkage must be .*-0.1"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reduction(**options).columns(8, 3)


def test_arguments_of_earlier_checkpoints_become_fields() -> None:
    assert upgrade_reduction({"dim": 4, "whiten": 0.5, "points": {}}) == {
        "points": {},
        "reduction": {"dim": 4, "whiten": 0.5},
    }
    assert upgrade_reduction({"reduction": {"dim": 4}}) == {"reduction": {"dim": 4}}
