"""The report is the metrics, as plain data."""

import json

import pytest
import torch
from torch import Tensor

from zoo.metrics import ConceptF1, ConceptTaskLeakage, NicheImpurity, OracleImpurity, concept_report
from zoo.utils import progress

KEYS = ["concept_accuracy", "concept_auc", "concept_f1", "concept_ece", "ctl", "icl"]
KEYS += ["ois", "ois_off_diagonal", "nis", "nis_of_labels", "concept_ceiling"]


def model(rows: int = 150, count: int = 3) -> dict[str, Tensor]:
    """What a model says of some rows, and the truth."""
    target = torch.randint(0, 4, (rows,))
    concepts = torch.where(torch.rand(rows, count) < 0.2, 0.0, (torch.rand(4, count) < 0.5).float()[target])
    logits = 3 * (concepts - 0.5) + torch.randn(rows, count)
    concepts = concepts.masked_fill(torch.rand(rows, count) < 0.1, torch.nan)
    vectors = torch.stack([logits, torch.randn(rows, count)], 2)
    return {"probability": logits.sigmoid(), "representation": vectors, "concepts": concepts, "targets": target}


def test_report_is_the_metrics() -> None:
    data = model()
    report = concept_report(**data, names=["a", "b", "c"], seed=3)
    assert list(report) == KEYS and json.loads(json.dumps(report, allow_nan=False)) == report
    said, inner, true, target = data.values()
    for key, metric, tensors in (
        ("concept_f1", ConceptF1(3), (said, true)),
        ("ctl", ConceptTaskLeakage(seed=3), (said, true, target)),
        ("ois", OracleImpurity(seed=3), (inner, true)),
        ("ois_off_diagonal", OracleImpurity(diagonal=False, seed=3), (inner, true)),
        ("nis", NicheImpurity(seed=3), (inner, true)),
    ):
        metric.update(*tensors)
        about = report[key]
        assert about["value"] == pytest.approx(float(metric.compute()), abs=1e-7)
        assert about["higher_is_better"] == metric.higher_is_better and about["chance"] == metric.chance
        assert list(about["concepts"]) == ["a", "b", "c"]
    assert all(about["title"] for about in report.values())
    assert concept_report(**data, names=["a", "b", "c"], seed=3) == report


def test_scores_bring_completeness_and_the_leak_test() -> None:
    data = model()
    scores = torch.nn.functional.one_hot(data["targets"]).float()
    report = concept_report(**data, scores=scores, black_box=scores)
    assert list(report) == [*KEYS, "completeness", "leak_test"]
    assert report["completeness"]["value"] == 1
    assert report["leak_test"]["leaks"] and report["leak_test"]["accuracy"] == 1
    assert report["leak_test"]["ceiling"] == report["concept_ceiling"]["value"] < 1
    assert not concept_report(**data, scores=scores, ceiling=1.0)["leak_test"]["leaks"]


def test_values_have_no_ceiling_and_one_concept_no_neighbours() -> None:
    data = model()
    data["targets"] = torch.randn(150)
    assert list(concept_report(**data)) == KEYS[:-1]
    data = {name: tensor[:, :1] if tensor.ndim > 1 else tensor for name, tensor in model().items()}
    report = concept_report(**data | {"representation": None})
    assert list(report) == [key for key in KEYS if key != "icl"]
    assert report["ois_off_diagonal"]["value"] is None  # there is nothing off the diagonal


def test_bar_is_optional(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    data = model()
    quiet = concept_report(**data)
    assert capsys.readouterr().err == ""
    assert concept_report(**data, progress=True) == quiet
    shown = capsys.readouterr().err
    assert "concept metrics" in shown and "interconcept leakage (ICL)" in shown


def test_names_must_fit() -> None:
    with pytest.raises(ValueError, match="names must have one entry for each of the 3 concepts; got 2"):
        concept_report(**model(), names=["a", "b"])
