"""Certificates: exact for a model whose contributions are the truth, useless for wrong ones, and right in coverage."""

import dataclasses
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import zoo
from tests.metrics.faithfulness.linear_model import SIDE, Pixels
from zoo.checkpoints.config_file import CONFIG, GOLDEN, WEIGHTS, read_config
from zoo.checkpoints.save import attach_certificate
from zoo.checkpoints.verify import verify
from zoo.core.certificate import Answers, Bound, Certificate
from zoo.metrics.certificates import (
    Certifier,
    Claims,
    answer_sets,
    certificate_of,
    certify,
    claims,
    conformal_quantile,
)
from zoo.metrics.faithfulness import CONTROLS, Subject
from zoo.metrics.faithfulness.imputers import Mean

KNOWN = Certificate(0.9, 120, "val", 3, ("mean",), Bound(0.5, 2.0, 1.5), None, Answers(0.2, 1.5))


def rows(count: int) -> list[dict[str, Tensor]]:
    """Batches of the linear model, with its own answers as classes."""
    x = torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    target = Pixels()(x).argmax(1)
    ids = torch.arange(count)
    return [{"input": x[i : i + 50], "target": target[i : i + 50], "ids": ids[i : i + 50]} for i in range(0, count, 50)]


@pytest.mark.parametrize("n, level", [(9, 0.9), (10, 0.9), (99, 0.95), (4, 0.5)])
def test_conformal_quantile(n: int, level: float) -> None:
    errors = torch.rand(n, generator=torch.Generator().manual_seed(n))
    bound = conformal_quantile(errors, level)
    # The smallest error for which at least a share `level` of n + 1 exchangeable errors is known to be below it.
    assert bound == min(float(e) for e in errors if (errors <= e).sum() >= level * (n + 1) - 1e-9)


def test_too_few_rows_for_the_level() -> None:
    with pytest.raises(ValueError, match="90% of inputs needs at least 9 rows; got 8"):
        conformal_quantile(torch.rand(8), 0.9)


def test_coverage_is_the_level() -> None:
    draw = torch.Generator().manual_seed(0)
    inside = [
        float(
            (torch.rand(200, generator=draw) <= conformal_quantile(torch.rand(60, generator=draw), 0.8)).float().mean()
        )
        for _ in range(200)
    ]
    assert sum(inside) / len(inside) == pytest.approx(0.8, abs=0.02)


def test_exact_for_the_truth_and_wide_for_controls() -> None:
    subject = Subject(Pixels())
    imputers = [Mean(torch.zeros(2, 1, SIDE, SIDE), subject.domain)]
    truth = claims(subject, rows(150), imputers)
    assert truth.errors.max() < 1e-4 and truth.measured.abs().median() > 0.5
    width = certificate_of(truth, ["mean"], 0.9, "val", 3).strongest
    assert width is not None and width.width < 1e-4 < width.constant
    for name in ("rotated basis", "shuffled supports", "shuffled contributions"):
        wrong = certificate_of(claims(CONTROLS[name](subject), rows(150), imputers), ["mean"], 0.9, "val", 3)
        assert wrong.strongest is not None and wrong.strongest.width > 0.3 * wrong.strongest.typical, name
        assert wrong.regions is not None and wrong.regions.width > 0.3 * wrong.regions.typical, name


def test_answer_sets_contain_the_truth() -> None:
    probability = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.4, 0.35, 0.25]])
    assert answer_sets(probability, 0.7).tolist() == [[1, 1, 0], [0, 0, 1], [1, 1, 0]]
    assert answer_sets(probability, 0.0).tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0]]  # never empty
    found = claims(Subject(Pixels()), rows(100), [Mean(torch.zeros(2, 1, SIDE, SIDE), Pixels().domain)])
    known = certificate_of(found, ["mean"], 0.9, "val", 3).answers
    assert known is not None and known.size is not None
    target = torch.cat([batch["target"] for batch in rows(100)])
    sets = answer_sets(found.probability, 1 - known.threshold)
    assert sets.gather(1, target[:, None]).float().mean() >= 0.9


def test_values_have_a_distance() -> None:
    nothing = torch.full((30, 2), nan)
    found = Claims(nothing, nothing[..., None], torch.arange(30.0), torch.zeros(30, 0))
    known = certificate_of(found, ["mean"], 0.9, "test", 3)
    assert known.strongest is known.regions is None and known.answers == Answers(27.0, None)
    assert known.lines() == [("covered values", "within ±27 for 90% of inputs (30 test rows)")]


def test_sentences_say_what_was_certified() -> None:
    model = Pixels()
    known = certify(Subject(model), rows(60), rows(50)[0]["input"])
    batch = rows(50)[0]
    for reference in ("zero", "mean"):
        told = model.explain(batch["input"], reference=reference)
        said = Certifier(model, known).sentences(told)
        found = claims(Subject(model), [batch], [Mean(torch.zeros(2, 1, SIDE, SIDE), model.domain)])
        assert known.answers is not None and known.strongest is not None and told.probabilities is not None
        sets = answer_sets(told.probabilities.double(), 1 - known.answers.threshold)
        for i, text in enumerate(said):
            drop = found.predicted[i, 0].item()
            assert f"would {'fall' if drop >= 0 else 'rise'} by {abs(drop):.3g} without" in text
            assert f"±{known.strongest.width:.3g}" in text and "at least 90% of inputs" in text
            assert text.endswith(", ".join(c for c, inside in zip("abc", sets[i], strict=True) if inside) + ".")


def test_nothing_is_said_of_the_removals_of_another_class() -> None:
    model, x = Pixels(), rows(50)[0]["input"]
    other = (model(x).argmax(1) + 1) % 3
    other[0] = model(x)[0].argmax()
    said = Certifier(model, KNOWN).sentences(model.explain(x, other))
    assert said[0].startswith("By the contributions") and all(text.startswith("Sets like") for text in said[1:])


def test_only_what_applies_is_said() -> None:
    model, bare = Pixels(), dataclasses.replace(KNOWN, strongest=None, answers=None)
    assert Certifier(model, bare).sentences(model.explain(torch.randn(2, 1, SIDE, SIDE))) == ("", "")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"level": 1.0}, "level in"),
        ({"rows": 0}, "at least 1"),
        ({"units": True}, "at least 1"),
        ({"strongest": {"width": 1.0}}, "keys width, typical, constant"),
        ({"strongest": {"width": inf, "typical": 1.0, "constant": 1.0}}, "width of a certificate must be finite"),
        ({"answers": {"threshold": -1.0, "size": None}}, "threshold of a certificate"),
        ({"more": 1}, "a certificate has the keys"),
    ],
)
def test_bad_certificates(change: dict[str, Any], message: str) -> None:
    assert Certificate.from_dict(KNOWN.to_dict()) == KNOWN
    with pytest.raises(ValueError, match=message):
        Certificate.from_dict({**KNOWN.to_dict(), **change})


def test_a_checkpoint_keeps_its_certificate(tmp_path: Path) -> None:
    folder = zoo.save(zoo.load("bagnet-mnist"), tmp_path / "bag", about={"name": "bag", "confusions": []})
    before = {name: load_file(folder / name) for name in (WEIGHTS, GOLDEN)}
    attach_certificate(folder, KNOWN)
    assert Certificate.from_dict(read_config(folder)["certificate"]) == KNOWN
    assert "| removal of the 3 strongest units | measured within ±0.5 of" in (folder / "README.md").read_text()
    assert verify(folder) == 0 and load_file(folder / WEIGHTS).keys() == before[WEIGHTS].keys()
    text = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(text.replace("width: 0.5", "width: 0.1"))
    with pytest.raises(ValueError, match="damaged or was changed"):
        read_config(folder)
    (folder / CONFIG).write_text(text)
    zoo.save(zoo.load(folder), folder)  # another model could be saved there
    assert "certificate" not in read_config(folder)
