"""The task "multilabel": metrics, loss, explanations, pages and tables of tags, and models that refuse it."""

from dataclasses import replace

import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from tests.small_models import BACKBONES, CLIPS, SENTENCES, inputs_of
from zoo.cli.prediction_rows import header, labels_of, rows_of
from zoo.concepts.cbm import CBM
from zoo.parts.sop import SumOfParts
from zoo.selectors.attention_pool import AttentionPool
from zoo.training.tag_report import TagReport
from zoo.training.tasks import metrics_of, report_of, task_loss
from zoo.views.html import page

TAGS = replace(CLIPS, task="multilabel")


def test_metrics_are_those_of_scikit_learn() -> None:
    draw = torch.Generator().manual_seed(0)
    scores, target = torch.randn(50, 3, generator=draw), (torch.rand(50, 3, generator=draw) < 0.4).float()
    report, found = report_of(TAGS, "logit"), metrics_of(TAGS)
    assert isinstance(report, TagReport)
    for part in (slice(0, 20), slice(20, 50)):
        report.update(scores[part], target[part])
        found.update(scores[part], target[part])
    told, y, p = report.compute(), target.int().numpy(), (scores > 0).int().numpy()
    expected = {
        "mean_average_precision": average_precision_score(y, scores.numpy()),
        "auroc": roc_auc_score(y, scores.numpy()),
        "f1_macro": f1_score(y, p, average="macro"),
        "f1_micro": f1_score(y, p, average="micro"),
        "exact_match": (y == p).all(1).mean(),
        "f1(star)": f1_score(y[:, 2], p[:, 2]),
    }
    for name, value in expected.items():
        assert float(told[name]) == pytest.approx(value, abs=1e-6), name
    assert float(found.compute()["accuracy"]) == pytest.approx((y == p).mean())
    expected_loss = -(target * scores.sigmoid().log() + (1 - target) * (-scores).sigmoid().log()).mean()
    torch.testing.assert_close(task_loss(scores, target, TAGS), expected_loss)


@torch.no_grad()
def test_tags_are_predicted_and_shown_each_by_itself() -> None:
    torch.manual_seed(0)
    model = AttentionPool(TAGS, BACKBONES["audio"]).eval()
    model.head.bias.copy_(torch.tensor([3.0, -9.0, 5.0]))
    x = inputs_of(TAGS, "random")[:2]
    one = model.explain(x)
    assert one.target_names == ["star", "star"] and one.space == "logit" and one.references == ("zero",)
    assert one.probability is not None
    torch.testing.assert_close(one.probability, one.scores[:, 2].sigmoid())
    with pytest.raises(ValueError, match="use reference='zero'"):
        model.explain(x, reference="runner-up")
    html = page(model.explain(x, every_class=True), ["a", "b"])
    assert "The model predicts <b><bdi>circle</bdi></b>, <b><bdi>star</bdi></b>." in html
    assert "3 tags: logit, probability" in html and "supports this tag" in html and "What if?" not in html
    assert header(TAGS, 1)[:4] == ["item", "labels", "predictions", "p(circle)"]
    assert list(labels_of(torch.tensor([[1.0, 1.0, 0.0]]), 1, TAGS)) == [["circle; square"]]
    assert list(labels_of(None, 1, TAGS)) == [[""]]
    row = next(iter(rows_of(one, TAGS, 1)))
    assert len(row) == len(header(TAGS, 1)) - 2 and row[0] == "circle; star"
    assert float(row[3]) == pytest.approx(float(one.scores[0, 2].sigmoid()), abs=1e-6)


def test_models_that_cannot_learn_tags_refuse_them() -> None:
    with pytest.raises(ValueError, match="SumOfParts cannot learn the task 'multilabel'"):
        SumOfParts(replace(SENTENCES, task="multilabel"), BACKBONES["text"])
    with pytest.raises(ValueError, match="CBM cannot learn the task 'multilabel'"):
        CBM(replace(SENTENCES, task="multilabel"), BACKBONES["text"])
    with pytest.raises(ValueError, match="task must be one of classification, multilabel, regression; got 'tags'"):
        replace(CLIPS, task="tags")
