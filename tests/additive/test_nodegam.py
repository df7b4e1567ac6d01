"""NODE-GAM: entmax by bisection, trees by loops, purified pairs, and known functions are found."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from tests.additive.test_nam import credit_rows
from tests.domain.test_columns import CREDIT
from tests.small_models import IMAGES, ROWS
from zoo.additive import NODEGAM
from zoo.additive.layers.tree_layer import overlap
from zoo.domain import TableDomain
from zoo.networks.entmax import entmax15, entmoid15
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

VALUE = TableDomain(task="regression", classes=("y",), features=("a", "b", "c"))


def by_bisection(z: Tensor) -> Tensor:
    """entmax-1.5 of z (n,): the τ for which max(0, z / 2 - τ)² add up to 1."""
    low, high = float(z.max()) / 2 - 1, float(z.max()) / 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (z / 2 - middle).clamp_min(0).square().sum() > 1 else (low, middle)
    return (z / 2 - low).clamp_min(0).square()


def split_by_bisection(z: float) -> float:
    """The first of the entmax-1.5 of (z, 0)."""
    low, high = max(z, 0) / 2 - 1, max(z, 0) / 2
    for _ in range(50):
        middle = (low + high) / 2
        total = max(z / 2 - middle, 0) ** 2 + max(-middle, 0) ** 2
        low, high = (middle, high) if total > 1 else (low, middle)
    return max(z / 2 - low, 0) ** 2


def test_entmax_is_that_of_bisection_and_its_gradient_of_differences() -> None:
    torch.manual_seed(0)
    scores = torch.randn(40, 7) * torch.logspace(-1, 1, 40)[:, None]
    scores[0], scores[1, :4] = 0.5, 3.0  # ties
    expected = torch.stack([by_bisection(z.double()) for z in scores]).float()
    torch.testing.assert_close(entmax15(scores), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(entmax15(scores.T, 0), expected.T, atol=1e-6, rtol=1e-5)
    z = scores[5].clone().requires_grad_()
    weight = torch.randn(7)
    (entmax15(z) @ weight).backward()
    step = 1e-4 * torch.eye(7, dtype=torch.float64)
    sides = [torch.stack([by_bisection(scores[5].double() + s * d) for d in step]) for s in (1, -1)]
    torch.testing.assert_close(z.grad, ((sides[0] - sides[1]) @ weight.double() / 2e-4).float(), atol=1e-4, rtol=1e-3)
    x = torch.linspace(-4, 4, 33)
    torch.testing.assert_close(entmoid15(x), entmax15(torch.stack([x, torch.zeros(33)]), 0)[0], atol=1e-6, rtol=1e-5)


def hard(model: NODEGAM, x: Tensor) -> NODEGAM:
    model.harden(ProjectionSet(TensorDataset(x, torch.zeros(len(x)))))
    return model.eval()


def trees_by_hand(model: NODEGAM, row: Tensor, domain: TableDomain) -> list[Tensor]:
    """Outputs of all trees for one row, each from the values of its own columns and trees of the same columns."""
    outputs, read = [], []
    for layer in model.layers():
        new = []
        for t, columns in enumerate(layer.choice().tolist()):
            values = []
            for k in columns:
                inputs, value = domain.slices[k], 0.0
                for f in range(inputs.start, inputs.stop):
                    value += float(row[f]) * (1.0 if layer.number[f] else float(layer.codes[f, t]))
                same = [h for h, other in zip(outputs, read, strict=True) if sorted(other) == sorted(columns)]
                total = value + sum(float(h.sum()) for h in same)
                values.append(total / (1 + sum(len(h) for h in same)))
            leaves = [1.0]
            for d in range(layer.depth):
                z = values[d % len(values)] - float(layer.thresholds[t, d])
                right = split_by_bisection(z * float((-layer.log_temperatures[t, d]).exp()))
                leaves = [leaf * right for leaf in leaves] + [leaf * (1 - right) for leaf in leaves]
            new.append((tuple(columns), layer.response[t] @ torch.tensor(leaves)))
        read += [columns for columns, _ in new]
        outputs += [h for _, h in new]
    return outputs


@pytest.mark.parametrize("pairs", [0, 6])
@pytest.mark.parametrize("classes", [("bad", "good"), ("bad", "fair", "good")])
@torch.no_grad()
def test_scores_by_hand(pairs: int, classes: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    domain, x = replace(CREDIT, classes=classes), credit_rows()
    model = hard(NODEGAM(domain, trees=9, layers=2, depth=3, pairs=pairs, column_share=0.6), x)
    torch.nn.init.normal_(model.bias)
    for row, scores in zip(x, model(x), strict=True):
        outputs = trees_by_hand(model, row, domain)
        expected = model.bias + sum(h @ w for h, w in zip(outputs, model.weight, strict=True))
        found = scores if len(classes) == 3 else (scores[1] - scores[0])[None]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert model.owner.sum(1).eq(1).all()


@torch.no_grad()
def test_a_unit_changes_with_its_own_columns_only() -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 3)
    model = hard(NODEGAM(VALUE, trees=20, layers=3, depth=3, pairs=3, column_share=1.0), x)
    explanation = model.explain(x)
    assert explanation.support is not None
    for f in range(3):
        other = x.clone()
        other[:, f] = torch.randn(50)
        moved = (model.explain(other).activation - explanation.activation).abs().amax(0) > 1e-6
        assert not (moved & (explanation.support[0, :, f] == 0)).any()
    assert [u.name for u in explanation.units][:3] == ["a", "b", "c"]
    assert {u.name for u in explanation.units if u.kind == "pair"} <= {"a x b", "a x c", "b x c"}


def test_soft_choices_overlap_as_their_columns_do() -> None:
    torch.manual_seed(0)
    earlier, selectors = torch.rand(4, 3, 2).softmax(0), torch.rand(4, 5, 2).softmax(0)
    for e in range(3):
        for t in range(5):
            p, q, s, u = earlier[:, e, 0], earlier[:, e, 1], selectors[:, t, 0], selectors[:, t, 1]
            expected = min(float((p @ s) * (q @ u) + (q @ s) * (p @ u)), 1.0)
            assert abs(float(overlap(earlier, selectors)[e, t]) - expected) < 1e-6


@torch.no_grad()
def test_purified_pairs_have_no_means_and_the_score_is_the_same() -> None:
    torch.manual_seed(0)
    x = credit_rows().repeat(2, 1)
    x[8:, 8] = torch.randn(8)
    model = hard(NODEGAM(CREDIT, trees=30, layers=2, pairs=3, column_share=1.0, bins=8), x)
    with pytest.raises(RuntimeError, match="curves of NODEGAM are not measured"):
        model.curves()
    before = model(x)
    model.purify(ProjectionSet(TensorDataset(x, torch.zeros(len(x))), batch_size=5))
    torch.testing.assert_close(model(x), before, atol=1e-4, rtol=1e-4)
    activation, bins = model.explain(x).check().activation, model.entries.bins(x)
    torch.testing.assert_close(activation.mean(0), torch.zeros(7), atol=1e-5, rtol=0)
    for p, (a, b) in enumerate(model.interactions.pairs.tolist()):
        for k in (a, b):
            for value in bins[:, k].unique():
                assert abs(activation[bins[:, k] == value, 4 + p].mean()) < 1e-4
    curves = model.curves()
    assert [c.unit for c in curves] == [u.name for u in model.units()]
    unused = [not p for p in model.interactions.pairs.diff().flatten().tolist()]
    assert [curve.axes[0].column == "" for curve in curves[4:]] == unused
    for k, curve in enumerate(curves):
        if k < 4:
            values = curve.values[bins[:, k]]
        else:
            a, b = model.interactions.pairs[k - 4].tolist()
            values = curve.values[bins[:, a], bins[:, b]]
        torch.testing.assert_close(curve.density.sum(), torch.tensor(1.0))
        if k == 0:  # every value of the column has its own bin
            torch.testing.assert_close(values[:, 1], activation[:, k] / 2, atol=1e-5, rtol=1e-4)


def test_known_functions_are_found() -> None:
    torch.manual_seed(0)
    quarter, signs = torch.rand(200, 3) * 4 - 2, [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    x = torch.cat([quarter * torch.tensor([1.0, *sign]) for sign in signs])  # b c is pure on these rows
    truth = torch.stack([(1.5 * x[:, 0]).sin(), x[:, 1] * x[:, 2]], 1)
    y = truth.sum(1, keepdim=True)
    data = ProjectionSet(TensorDataset(x, y), batch_size=1000)
    model = NODEGAM(VALUE, trees=32, layers=1, depth=4, pairs=3, column_share=1.0, dropout=0.0, bins=16)
    model.initialise(data)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), 4e-2)
    for step in range(160):
        if step < 30:
            model.temperature.fill_(0.01 ** (step / 30))
        elif step == 30:
            model.harden(data)
        scores, evidence = model.step(x)
        optimizer.zero_grad()
        model.losses(scores, evidence, {"input": x, "target": y})["task"].backward()
        optimizer.step()
    model.purify(data)
    explanation = model.eval().explain(x)
    found = {u.name: explanation.activation[:, k] for k, u in enumerate(explanation.units)}
    r2 = {}
    for name, values in {"a": truth[:, 0], "b x c": truth[:, 1]}.items():
        centred = values - values.mean()
        r2[name] = float(1 - (found[name] - centred).square().sum() / centred.square().sum())
    assert min(r2.values()) > 0.99, r2


def test_recipes_and_arguments_are_checked() -> None:
    soft = Recipe(stages=(Stage("anneal", epochs=1, train=("trees",), anneal=True),))
    with pytest.raises(ValueError, match=r"add \{name: harden\} after the last stage"):
        NODEGAM(ROWS, recipe=soft).check_recipe()
    with pytest.raises(RuntimeError, match="have not chosen their columns"):
        NODEGAM(ROWS, trees=3).explain(torch.randn(2, 3))
    with pytest.raises(ValueError, match="reads rows of a table"):
        NODEGAM(IMAGES)
    with pytest.raises(ValueError, match="depth must be at least 2; got 1"):
        NODEGAM(ROWS, depth=1)
    assert len(NODEGAM(ROWS, trees=3, pairs=10).units()) == 6
