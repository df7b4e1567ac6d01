"""VIPERTree: scores are those of scikit-learn's tree, rules hold where they are given, and the pole stays up."""

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tests.small_models import ROWS
from zoo.data import Control
from zoo.domain import TableDomain
from zoo.metrics import policy_report
from zoo.policies import VIPERTree
from zoo.policies.layers.path_tree import complete_tree, rule, split_names
from zoo.policies.layers.viper import Labelled, Teacher, below, distil, fit_tree

TORQUE = TableDomain(task="regression", classes=("torque",), features=("a", "b", "c"))


def rows(count: int = 200) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, generator=generator)
    return x, (x[:, 0] > 0.3).long() + (x[:, 1] * x[:, 2] > 0).long(), torch.rand(count, generator=generator)


@pytest.mark.parametrize("leaves", [2, 5, 9])
def test_scores_are_those_of_sklearn(leaves: int) -> None:
    x, y, weight = rows()
    model = VIPERTree(ROWS, leaves=leaves).eval()
    model.plant(model.fitted(Labelled(x, y, weight)))
    theirs = DecisionTreeClassifier(max_leaf_nodes=leaves, random_state=0).fit(x.numpy(), y.numpy(), weight.numpy())
    new = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    expected = torch.from_numpy(theirs.predict_proba(new.numpy())).float()
    torch.testing.assert_close(model(new), expected, rtol=1e-5, atol=1e-6)
    why = model.explain(new)
    assert torch.equal(
        why.activation.sum(1), torch.from_numpy(theirs.decision_path(new.numpy()).sum(1)).squeeze() - 1.0
    )


def test_values_are_those_of_sklearn() -> None:
    x = rows()[0]
    y = (x[:, :1] - x[:, 1:2]).tanh()
    model = VIPERTree(TORQUE, leaves=6).eval()
    model.plant(model.fitted(Labelled(x, y, torch.ones(len(x)))))
    theirs = DecisionTreeRegressor(max_leaf_nodes=6, random_state=0).fit(x.numpy(), y.numpy())
    torch.testing.assert_close(model(x)[:, 0], torch.from_numpy(theirs.predict(x.numpy())).float())
    assert model.space == "value"


def test_a_constant_policy_has_no_path() -> None:
    x = rows()[0]
    model = VIPERTree(ROWS, leaves=3).eval()
    model.plant(model.fitted(Labelled(x, torch.ones(len(x), dtype=torch.long), torch.zeros(len(x)))))
    why = model.explain(x[:2])
    assert why.scores.tolist() == [[0, 1, 0]] * 2 and not bool(why.activation.any())
    assert why.statements[0] == "If always." and why.units[1].name == "(unused split 2)"


def test_a_number_at_the_threshold_goes_left_as_in_sklearn() -> None:
    """Regression: a threshold that is rounded up sends a number to the wrong side."""
    for threshold in (0.1, 1 / 3, -0.7, 1e-9):
        rounded, next_up = below(threshold), np.nextafter(below(threshold), np.float32(np.inf))
        assert float(rounded) <= threshold < float(next_up)


def test_rules_hold_where_they_are_given() -> None:
    domain = TableDomain(classes=("l", "r"), features=("u", "v"), mean=(1.0, 0.0), std=(2.0, 1.0))
    feature, threshold = [0, 0, 1], [0.5, -0.5, 0.0]
    assert rule([1, 1, 0], [0, 1, 0], feature, threshold, domain) == "0 < u ≤ 2"
    assert rule([1, 0, 1], [1, 0, 0], feature, threshold, domain) == "u > 2 and v ≤ 0"
    names = split_names([0, 0, 1, -1], [0.5, 0.5, 0.0, 0.0], domain)
    assert names == ["u > 2", "u > 2 (split 2)", "v > 0", "(unused split 4)"]


def test_below_in_a_complete_tree() -> None:
    left, right = complete_tree(3)
    assert left[:, 0].tolist() == [0, 1, 0, 1, 1, 0, 0] and right[:, 0].tolist() == [0, 0, 1, 0, 0, 1, 1]
    assert left[:, 1].tolist() == [0, 0, 0, 1, 0, 0, 0] and right[6].tolist() == [1, 0, 1, 0, 0, 0, 0]


def test_eight_leaves_keep_the_pole_up() -> None:
    data, lines = Control("cartpole"), []
    model = VIPERTree(data.domain, leaves=8).eval()
    teacher = Teacher(data, None)
    model.plant(distil(data, teacher, model.fitted, model.policy_of, 4, 5, lines.append))
    found = policy_report(model, data, 8, None)
    assert found.policy.mean >= 475 and found.controller.mean == 500 and found.chance.mean < 40
    assert found.fidelity > 0.7 and found.information_loss == 0 and len(lines) == 4


def test_without_a_tree_it_explains_nothing() -> None:
    with pytest.raises(RuntimeError, match="no tree yet"):
        VIPERTree(ROWS).explain(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="leaves must be in"):
        VIPERTree(ROWS, leaves=100)
    assert fit_tree(Labelled(*rows()), 4, 3, True).feature.shape == (3,)
