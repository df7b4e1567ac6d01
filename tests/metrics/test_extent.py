"""Sizes of explanations and their share on the object, by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.metrics import ExplanationSize, RelevanceInObject, covering


def values(metric: ExplanationSize | RelevanceInObject) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


@given(st.integers(0, 50), st.sampled_from([0.3, 0.5, 0.95, 1.0]))
def test_covering_is_the_smallest_set_that_covers(seed: int, share: float) -> None:
    weight = torch.randn(3, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    chosen = covering(weight, share)
    for row, mask in zip(weight.abs(), chosen, strict=True):
        assert row[mask].sum() >= share * row.sum() * (1 - 1e-9)
        assert row[mask].sum() - row[mask].min() < share * row.sum()  # one less is too few
        assert mask.all() or row[mask].min() > row[~mask].max()
        assert share < 1 or mask.all()


def test_sizes_by_hand() -> None:
    metric = ExplanationSize(5, share=0.9)
    metric.update(torch.tensor([[6.0, -3.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0, 0.0]]))
    metric.update(torch.zeros(1, 5))
    assert values(metric) == {"local": 2, "local covering": 1.5, "global": 4, "global covering": 3, "empty": 1}


def test_sizes_without_any_explanation_are_undefined() -> None:
    metric = ExplanationSize(2)
    metric.update(torch.zeros(3, 2))
    assert math.isnan(values(metric)["local"]) and values(metric)["empty"] == 3


def test_weights_that_are_no_weights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"finite weights \(B, 2\); got \(1, 3\), 0 of them"):
        ExplanationSize(2).update(torch.ones(1, 3))
    with pytest.raises(ValueError, match="1 of them not finite"):
        ExplanationSize(2).update(torch.tensor([[1.0, math.nan]]))
    with pytest.raises(ValueError, match="share must be in"):
        ExplanationSize(2, share=0.0)


def test_relevance_by_hand() -> None:
    """Unit 0 has 3/4 of its support and its peak on the left half, unit 1 a half and its peak on the right."""
    support = torch.tensor([[[[0.6, 0.1], [0.15, 0.15]], [[0.1, 0.5], [0.4, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    weight = torch.tensor([[3.0, -1.0, 5.0]])  # the third has no place
    mask = torch.zeros(1, 4, 6)
    mask[:, :, :3] = 1
    metric = RelevanceInObject()
    metric.update(support, weight, mask)
    found = values(metric)
    assert found["mass"] == pytest.approx(0.75 * 0.75 + 0.25 * 0.5)
    assert found["peak"] == pytest.approx(0.75) and found["chance"] == 0.5 and found["undefined"] == 0


def test_even_support_is_at_chance() -> None:
    mask = (torch.rand(4, 12, 12) < 0.3).float()
    metric = RelevanceInObject()
    metric.update(torch.full((4, 2, 3, 3), 0.7), torch.rand(4, 2) + 0.1, mask)
    found = values(metric)
    assert found["mass"] == pytest.approx(found["chance"])


def test_images_without_object_or_evidence_are_counted() -> None:
    support, mask = torch.ones(3, 1, 2, 2), torch.ones(3, 2, 2)
    mask[0] = 0
    metric = RelevanceInObject()
    metric.update(support, torch.tensor([[1.0], [0.0], [2.0]]), mask)
    assert values(metric) == {"mass": 1, "peak": 1, "chance": 1, "undefined": 2}
    with pytest.raises(ValueError, match=r"masks \(B, H, W\); got"):
        metric.update(support, torch.ones(3, 1), torch.ones(2, 2))
