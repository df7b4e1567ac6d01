"""Top-activating training examples in buffers."""

import pytest
import torch

from tests.small_models import RandomImages
from zoo.core.training_examples import TrainingExamples
from zoo.training.projection_set import ProjectionSet


def test_examples_are_those_of_a_sort() -> None:
    data, examples = RandomImages(), TrainingExamples(3, 4)
    examples.find(ProjectionSet(data, batch_size=2), lambda x: x)
    value, cell = data.inputs.flatten(2).max(2)
    order = value.argsort(0, descending=True)[:4]  # (n, K)
    assert torch.equal(examples.index, order.T)
    assert torch.equal(examples.value, value.gather(0, order).T)
    assert examples.cell is not None and torch.equal(examples.cell, cell.gather(0, order).T)
    first = {"index": int(order[0, 1]), "cell": int(cell[order[0, 1], 1]), "activation": value[order[0, 1], 1].item()}
    assert examples.sources(1)[0] == first
    examples.clear()
    assert examples.sources(1) == []


def test_fewer_examples_than_places() -> None:
    examples = TrainingExamples(3, 4, cells=False)
    found = examples.find(ProjectionSet(RandomImages(2)), lambda x: x.flatten(2).sum(2))
    assert found.index.shape == (3, 2) and examples.index[:, 2:].eq(-1).all()
    assert len(examples.sources(0)) == 2 and set(examples.sources(0)[0]) == {"index", "activation"}
    assert set(examples.state_dict()) == {"value", "index"}
    with pytest.raises(ValueError, match="the training set is empty, so there are no examples to show"):
        examples.find(ProjectionSet(RandomImages(0)), lambda x: x)
