"""CEM: RandInt, evaluation without labels, and concepts that are not enough."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from tests.concepts.table_batch import batch, scores_by_hand
from tests.small_models import ROWS, cem
from tests.toy import fit
from zoo.concepts import CEM
from zoo.data import ConceptToy

DATA = ConceptToy("dot", count=400, batch_size=80)


def test_scores_by_hand() -> None:
    torch.manual_seed(0)
    model = cem().model
    explanation = model.explain(batch()["input"], 1, reference="zero").check()
    scores, contributions = scores_by_hand(model, shared=True)
    torch.testing.assert_close(explanation.scores, scores)
    torch.testing.assert_close(explanation.contributions, contributions[:, :, 1])


def randint_scores(monkeypatch: pytest.MonkeyPatch, draw: Tensor, **options: object) -> tuple[CEM, Tensor]:
    """The task term of a CEM in training whose RandInt draws are given."""
    torch.manual_seed(0)
    made = cem(**options).model.train()
    scores, evidence = made.step(batch()["input"])
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: draw.expand(*shape).clone())
    return made, made.losses(scores, evidence, batch())["task"]


def test_randint_puts_true_values_in(monkeypatch: pytest.MonkeyPatch) -> None:
    made, task = randint_scores(monkeypatch, torch.tensor([0.1, 0.9, 0.9, 0.9, 0.9]))
    evidence = made.step(batch()["input"])[1]
    expected = made.readout(made.edit(evidence, {"round": batch()["concepts"][:, 0]}))
    torch.testing.assert_close(task, F.cross_entropy(expected, batch()["target"]))


def test_randint_takes_an_exclusive_group_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    made, task = randint_scores(monkeypatch, torch.tensor([0.9, 0.9, 0.1, 0.9, 0.9]))
    evidence, truth = made.step(batch()["input"])[1], batch()["concepts"]
    colours = {name: truth[:, 2 + i] for i, name in enumerate(("red", "green", "blue"))}
    torch.testing.assert_close(task, F.cross_entropy(made.readout(made.edit(evidence, colours)), batch()["target"]))


@pytest.mark.parametrize(("randint", "rows"), [("sample", 4000), ("batch", 1)])
def test_randint_is_drawn_for_every_row_or_once(randint: str, rows: int) -> None:
    torch.manual_seed(0)
    made = cem(randint=randint).model
    labels = torch.ones(4000, 5)
    labels[:, 1] = torch.nan
    mask = made._randint(labels)
    assert mask.expand(4000, -1).unique(dim=0).shape[0] == (1 if rows == 1 else 4)
    assert not mask[:, 1].any()  # nobody knows its true value
    if rows > 1:
        assert abs(mask[:, 0].float().mean() - 0.25) < 0.03


def test_evaluation_uses_no_labels() -> None:
    made = cem().model
    scores, evidence = made.step(batch()["input"])
    torch.testing.assert_close(
        made.losses(scores, evidence, batch())["task"], F.cross_entropy(scores, batch()["target"])
    )


def test_learns_where_concepts_are_not_enough() -> None:
    torch.manual_seed(0)
    made = CEM(
        DATA.domain,
        backbone={"name": "mlp", "widths": [64]},
        width=32,
        recipe={
            "stages": [{"name": "joint", "epochs": 30, "train": ["backbone", "concepts", "head"]}],
            "lr": 0.02,
            "coefficients": {"concepts": 1},
        },
    )
    trainer = fit(made, DATA)
    trainer.test(made, datamodule=DATA, verbose=False)
    assert trainer.callback_metrics["test/accuracy"] > 0.85  # the concepts alone allow 0.75
    assert trainer.callback_metrics["test/concept_auc"] > 0.95


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"randint": "row"}, "randint must be one of sample, batch; got 'row'"),
        ({"width": 0}, "width must be at least 1; got 0"),
        ({"randint_probability": 1.5}, r"randint_probability must be in \[0, 1\]; got 1.5"),
    ],
)
def test_bad_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("cem", domain=ROWS, backbone="mlp", **change)
