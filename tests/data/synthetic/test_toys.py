"""XOR, Trig and Dot: what concepts and labels say is recomputed from the inputs."""

import math

import pytest
import torch
from torch import Tensor

from zoo.data import ConceptToy
from zoo.data.base.items import Rows
from zoo.data.synthetic.toys import TOYS
from zoo.domain import Domain


def parts(name: str, count: int = 500, seed: int = 0) -> list[Rows]:
    data = ConceptToy(name, count, seed=seed)
    return [data.train_dataset(), data.val_dataset(), data.test_dataset()]


def whole(name: str, count: int = 500) -> tuple[Tensor, Tensor, Tensor]:
    found = parts(name, count)
    return tuple(torch.cat([getattr(p, what) for p in found]) for what in ("inputs", "concepts", "targets"))


def test_xor() -> None:
    x, concepts, targets = whole("xor")
    assert x.min() >= 0 and x.max() <= 1
    for (a, b), known, target in zip(x.tolist(), concepts.tolist(), targets.tolist(), strict=True):
        assert known == [a > 0.5, b > 0.5] and target == ((a > 0.5) != (b > 0.5))


def test_trig() -> None:
    """sin t + t rises all the time, so that bisection finds the hidden number behind it; near π it is almost flat."""
    x, concepts, targets = whole("trig")
    for row, known, target in zip(x.double().tolist(), concepts.tolist(), targets.tolist(), strict=True):
        hidden = []
        for i in (0, 2, 4):
            low, high = -20.0, 20.0
            for _ in range(60):
                middle = (low + high) / 2
                low, high = (middle, high) if math.sin(middle) + middle < row[i] else (low, middle)
            hidden.append(low)
            if abs(low) < 6:
                assert math.cos(low) + low == pytest.approx(row[i + 1], abs=0.03)
        assert known == [h > 0 for h in hidden]
        assert row[6] == pytest.approx(sum(h * h for h in hidden), rel=0.02, abs=0.02)
        if abs(sum(hidden) - 1) > 0.1:
            assert target == (sum(hidden) > 1)


def test_dot() -> None:
    x, concepts, targets = whole("dot")
    for (a, b, c, d), known, target in zip(x.tolist(), concepts.tolist(), targets.tolist(), strict=True):
        v, w = ((a + c) / 2, (b + d) / 2), ((a - c) / 2, (b - d) / 2)
        product = v[0] * w[0] + v[1] * w[1]
        for concept, side in zip(known, (v[0] + v[1], -w[0] - w[1]), strict=True):
            assert abs(side) < 1e-5 or concept == (side > 0)
        assert abs(product) < 1e-5 or target == (product > 0)


def test_hidden_numbers_have_deviation_2() -> None:
    x, _, _ = whole("dot", 20_000)
    assert (x.std(0) - 2 * 2**0.5).abs().max() < 0.1 and x.mean(0).abs().max() < 0.1
    assert float(whole("trig", 20_000)[0][:, 6].mean()) == pytest.approx(12, abs=0.3)  # three variances of 4


def test_concepts_determine_the_label_in_xor_alone() -> None:
    for name, ceiling in (("xor", 1.0), ("trig", 0.813), ("dot", 0.75)):
        _, concepts, targets = whole(name, 20_000)
        code = (concepts * 2 ** torch.arange(concepts.shape[1])).sum(1).long()
        right = sum(max((targets[code == c] == label).sum() for label in (0, 1)) for c in code.unique())
        assert float(right / len(targets)) == pytest.approx(ceiling, abs=0.01)


@pytest.mark.parametrize("name", sorted(TOYS))
def test_splits_are_disjoint_and_follow_from_the_seed(name: str) -> None:
    first, again, other = parts(name), parts(name), parts(name, seed=1)
    assert [len(part) for part in first] == [350, 50, 100]
    rows = [tuple(row) for part in first for row in part.inputs.tolist()]
    assert len(set(rows)) == 500
    assert len({part.name(i) for part in first for i in range(len(part))}) == 500
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a.inputs, b.inputs) and torch.equal(a.concepts, b.concepts)
        assert not torch.equal(a.inputs, c.inputs)


@pytest.mark.parametrize("name", sorted(TOYS))
def test_domain_fits_the_items(name: str) -> None:
    data = ConceptToy(name, 40, batch_size=8)
    domain, batch = Domain.from_dict(data.domain), next(iter(data.train_dataloader()))
    assert batch["input"].shape == (8, *domain.shape) and batch["concepts"].shape == (8, len(domain.concepts))
    assert batch["target"].dtype == torch.long and set(batch["target"].tolist()) <= {0, 1}
    assert torch.equal(data.concept_labels(), data.train_dataset().concepts)


def test_settings_that_cannot_be_right() -> None:
    with pytest.raises(ValueError, match=r"name must be one of xor, trig, dot; got 'xro'\. Did you mean 'xor'\?"):
        ConceptToy("xro")
    with pytest.raises(ValueError, match="count must be at least 20; got 19"):
        ConceptToy("xor", 19)
