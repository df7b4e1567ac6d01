"""DCR: the truth of a rule, the rules that it finds, and how they are printed."""

from dataclasses import replace
from itertools import product

import pytest
import torch

import zoo
from tests.small_models import ROWS
from tests.toy import fit
from zoo.concepts import DCR
from zoo.concepts.layers.fuzzy_rules import agreement
from zoo.data import ConceptToy


def test_truth_of_a_rule_by_hand() -> None:
    model = zoo.create_model("dcr", domain=ROWS, backbone="mlp", width=4).eval()
    with torch.no_grad():
        scores, evidence = model.step(torch.randn(4, 3))
        s, r = model.rule(evidence)
        p = evidence.activation
        for b, c in product(range(4), range(3)):
            parts = []
            for i in range(5):
                a, t = s[b, i, c].item(), p[b, i].item()
                parts.append(max(min(max(1 - a, t), max(a, 1 - t)), 1 - r[b, i, c].item()))
            assert scores[b, c].item() == pytest.approx(min(parts), abs=1e-6)
    assert agreement(torch.tensor(1.0), torch.tensor(0.2)).item() == pytest.approx(0.2)


def test_reasoner_recovers_the_four_rules_of_xor() -> None:
    torch.manual_seed(0)
    data = ConceptToy("xor", count=800, batch_size=100)
    stages = [{"name": "joint", "epochs": 20, "train": ["backbone", "concepts", "head"]}]
    model = DCR(
        data.domain,
        backbone={"name": "mlp", "widths": [32]},
        width=8,
        temperature=4.0,
        recipe={"stages": stages, "lr": 0.03},
    )
    trainer = fit(model, data)
    trainer.test(model, datamodule=data, verbose=False)
    assert trainer.callback_metrics["test/accuracy"] > 0.95
    model.eval()
    test = [data.test_dataset()[i] for i in range(80)]
    labels = torch.stack([item["target"] for item in test])
    rules = model.rules_on(torch.stack([item["input"] for item in test]), labels)
    assert sum(rule.support for rule in rules) == pytest.approx(1)
    x, y = "x above 0.5", "y above 0.5"
    for name, wanted in (
        ("different", {f"{x} and not {y}", f"not {x} and {y}"}),
        ("same", {f"{x} and {y}", f"not {x} and not {y}"}),
    ):
        own = sorted((r for r in rules if r.conclusion == name), key=lambda r: -r.support)
        assert {rule.text for rule in own[:2]} == wanted and all(rule.outcome > 0.9 for rule in own[:2])
        assert sum(rule.support for rule in own[:2]) > 0.9 * sum(rule.support for rule in own)


def test_rules_are_said_on_pages_and_in_files() -> None:
    torch.manual_seed(0)
    model = DCR(ROWS, backbone={"name": "mlp", "widths": [4]}, width=4).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x = torch.randn(4, 3)
    rules = model.rules(x)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    explanation = model.explain(x)
    for i, rule in enumerate(rules):
        one = explanation[i]
        assert one.statements == (f"{one.target_names[0]} if {rule}: truth {one.score.item():.3f}",)
        assert one.to_dict()[0]["statement"] == one.statements[0]
        assert one.statements[0] in str(one) and one.statements[0] in one._repr_html_()
    with pytest.raises(ValueError, match="Add a batch dimension"):
        model.rules(x[0])


def test_units_of_no_sum_are_ranked_by_what_they_decide() -> None:
    model = DCR(ROWS, backbone={"name": "mlp", "widths": [4]}, width=4).eval()
    explanation = model.explain(torch.randn(4, 3))
    moved = (explanation.details["present"] - explanation.details["absent"]).abs()
    assert torch.equal(explanation.importance, moved)
    assert [t.index for t in explanation.top(5)[0]] == moved[0].sort(descending=True, stable=True).indices.tolist()
    assert "units are ranked by effect on the score" in str(explanation)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width must be at least 1; got 0"),
        ({"temperature": 0.0}, "temperature must be above 0; got 0.0"),
        ({"domain": replace(ROWS, task="regression")}, "DCR is a classifier; the task of these data is 'regression'"),
    ],
)
def test_bad_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("dcr", **{"domain": ROWS, "backbone": "mlp", **change})
