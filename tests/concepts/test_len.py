"""LEN: formulas of known rules are found, evaluated and printed."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

import zoo
from tests.concepts.table_batch import batch
from tests.small_models import ROWS
from tests.toy import fit
from zoo.concepts import LEN
from zoo.core.rule_table import ordered
from zoo.data import ConceptToy


def test_scores_by_hand() -> None:
    torch.manual_seed(0)
    model = LEN(ROWS, backbone={"name": "mlp", "widths": [4]}, hidden=3, temperature=0.7).eval()
    x = torch.randn(4, 3)
    with torch.no_grad():
        logits = model.concepts(model.backbone(x))
        p = torch.cat([logits[:, :2].sigmoid(), logits[:, 2:].softmax(1)], 1)  # two binary concepts and the colours
        for c in range(3):
            alpha = (model.head.weight[c].abs().sum(0) / 0.7).softmax(0)
            hidden = F.leaky_relu((p * alpha / alpha.max()) @ model.head.weight[c].T + model.head.bias[c])
            torch.testing.assert_close(model(x)[:, c], hidden @ model.head.out[c] + model.head.offset[c])


def test_logic_explained_network_from_inputs_to_formulas() -> None:
    torch.manual_seed(0)
    data = ConceptToy("xor", count=400, batch_size=100)
    stages = [
        {"name": "concepts", "epochs": 8, "train": ["backbone", "concepts"]},
        {"name": "head", "epochs": 12, "train": ["head"]},
        {"name": "extract"},
        {"name": "measure", "epochs": 1, "train": []},
    ]
    model = LEN(data.domain, backbone={"name": "mlp", "widths": [32]}, recipe={"stages": stages, "lr": 0.05})
    trainer = fit(model, data)
    trainer.test(model, datamodule=data, verbose=False)
    assert trainer.callback_metrics["test/accuracy"] > 0.95
    assert model.complexity().tolist() == [4, 4]
    x, y = "x above 0.5", "y above 0.5"
    assert set(model.formulas()["different"].split(" or ")) == {f"({x} and not {y})", f"(not {x} and {y})"}
    assert set(model.formulas()["same"].split(" or ")) == {f"({x} and {y})", f"(not {x} and not {y})"}
    assert trainer.callback_metrics["test/formula_f1"] > 0.9
    first, _ = ordered(model.rule_table())
    assert str(first).startswith(f"different if {model.formulas()['different']} (holds for ")
    assert all(rule.outcome > 0.95 and rule.support == pytest.approx(0.5, abs=0.1) for rule in model.rule_table())


def test_an_explanation_says_the_formula_and_whether_it_holds() -> None:
    model = LEN(ROWS, backbone={"name": "mlp", "widths": [4]}).eval()
    model.logic.formula[0, 0, 0], model.logic.formula[0, 1, 1], model.logic.formula[0, 1, 2] = (
        1,
        -1,
        1,
    )  # round or (not large and red)
    activation = torch.tensor([[0.9, 0.9, 0.1, 0.8, 0.1], [0.1, 0.2, 0.9, 0.0, 0.1], [0.1, 0.9, 0.9, 0.0, 0.1]])
    assert model.holds(activation > 0.5).tolist() == [[True, False, False], [True, False, False], [False] * 3]
    said = model.statements({"activation": activation, "target": torch.tensor([0, 0, 0])})
    start = "circle if round or (not large and red): "
    assert said == (f"{start}true here", f"{start}true here", f"{start}not true here")
    assert model.statements({"activation": activation, "target": torch.tensor([1, 2, 1])}) == ("", "", "")
    scores = torch.tensor([[2.0, 0, 0], [0, 1.0, 0], [0, 1.0, 0]])
    f1 = model.formula_f1(activation, scores.argmax(1))  # holds for rows 0 and 1, predicted for row 0
    torch.testing.assert_close(f1, torch.tensor([2 / 3, 0.0, torch.nan]), equal_nan=True)
    f1 = model.formula_f1(activation, torch.tensor([0, 0, 0]))
    torch.testing.assert_close(f1, torch.tensor([0.8, torch.nan, torch.nan]), equal_nan=True)


def test_the_head_learns_from_true_or_from_predicted_concepts() -> None:
    for training in ("independent", "sequential", "joint"):
        torch.manual_seed(0)
        model = LEN(ROWS, backbone={"name": "mlp", "widths": [4]}, training=training).train()
        scores, evidence = model.step(batch()["input"])
        labels = batch()["concepts"]
        seen = labels if training == "independent" else evidence.activation
        expected = F.binary_cross_entropy_with_logits(model.head(seen), torch.eye(3)[batch()["target"]])
        found = model.losses(scores, evidence, batch())["task"]
        torch.testing.assert_close(found, expected)
        found.backward()
        assert (model.concepts.weight.grad is not None) == (training == "joint")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 0}, "hidden must be at least 1; got 0"),
        ({"terms": 0}, "terms must be at least 1; got 0"),
        ({"temperature": 0.0}, "temperature must be above 0; got 0.0"),
        ({"domain": replace(ROWS, task="regression")}, "LEN is a classifier; the task of these data is 'regression'"),
    ],
)
def test_bad_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("len", **{"domain": ROWS, "backbone": "mlp", **change})
