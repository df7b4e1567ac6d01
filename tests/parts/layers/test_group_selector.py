"""The group selector: its weights at the start."""

import torch

from zoo.parts.layers.group_selector import GroupSelector
from zoo.utils.functional import sparsemax


def test_the_selector_starts_as_the_class_logits() -> None:
    selector = GroupSelector(4, 3, 0.1)
    h = torch.randn(2, 5, 4)
    with torch.no_grad():
        theta = selector(h)
    torch.testing.assert_close(theta, sparsemax(0.1 * h @ selector.classes.T, 1))
    torch.testing.assert_close(theta.sum(1), torch.ones(2, 3))
