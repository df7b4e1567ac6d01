"""PredictiveCodes: scores, answers and contributions by hand; real answers by changed inputs; what is refused."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.small_models import BACKBONES, IMAGES, ROWS, SENTENCES, TEXTS, build
from zoo.concepts.layers.questions import Questions
from zoo.domain import AudioDomain
from zoo.domain.text import PAD, UNKNOWN

X = torch.stack([SENTENCES.preprocess(text) for text in TEXTS])


def test_scores_and_answers_by_hand() -> None:
    small = build("predictive_codes")
    model, x = small.model, small.inputs
    explanation = model.explain(x, 1, reference="zero").check()
    with torch.no_grad():
        features = model.backbone(x)
        inner = (features - model.code.mean) / model.code.scale - model.code.offset
        found = F.linear(inner, model.code.encoder.weight, model.code.encoder.bias)
        z = found.relu() * (found >= found.topk(3, 1).values[:, -1:])
        weight = model.decoder.weight.view(4, 3, 6)  # the score and three columns, three classes, six concepts
        by_hand = model.unit[:, None] * (torch.einsum("bk,qck->bqc", z, weight)) + model.typical
        answers = model.answers(model.evidence(x))
        subject = model.head(features)
        changed = x.clone()
        changed[:, 1] = training_rows().mean(0)[1]
        moved = model.head(model.backbone(changed)) - subject
    torch.testing.assert_close(explanation.activation, z, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(explanation.scores, by_hand[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(answers, by_hand[:, 1:], rtol=1e-4, atol=1e-5)
    details = explanation.details["answers"]
    torch.testing.assert_close(details.sum(1), answers[..., 1] - model.typical[1:, 1], rtol=1e-4, atol=1e-5)
    real = model.ask(x, subject, [1])
    torch.testing.assert_close(real[:, 0], moved - moved.mean(1, keepdim=True), rtol=1e-4, atol=1e-5)


def training_rows() -> Tensor:
    return torch.randn(60, 3, generator=torch.Generator().manual_seed(4))  # of tests.small_models.AnnotatedRows


def test_questions_about_texts() -> None:
    questions = Questions(replace(SENTENCES, length=20), ("good",))
    good = SENTENCES.vocabulary.index("good") + 2
    x = torch.tensor([[3, 4, 5] + [PAD] * 17, [3] * 18 + [PAD] * 2])
    assert questions.count == 18 and questions.names[9] == "span 1 'good'"
    part = questions.part_of(x)
    assert part[0].tolist() == [0, 3, 6] + [-1] * 17  # nine spans of a text of three words: most are empty
    assert part[1].tolist() == [n // 2 for n in range(18)] + [-1, -1]
    assert questions.ask(x, 3)[0].tolist() == [3, UNKNOWN, 5] + [PAD] * 17
    assert questions.ask(x, 9 + 8)[1].tolist() == [3] * 16 + [good] * 2 + [PAD] * 2
    assert torch.equal(questions.ask(x, 1)[0], x[0])
    states = torch.randn(2, 20, 4)
    pooled = questions.pooled(states, (x != PAD).float(), (20,), x)
    torch.testing.assert_close(pooled[1, 2], states[1, 4:6].mean(0))
    assert (pooled[0, 1] == 0).all() and torch.equal(pooled[0, 3], states[0, 1])


def test_blocks_of_images_and_their_cells() -> None:
    questions = Questions(replace(IMAGES, size=(12, 12)))
    questions.fill.copy_(torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1))
    x = torch.zeros(1, 3, 12, 12)
    changed = questions.ask(x, 5)[0]
    assert (changed[1, 4:8, 8:] == 2).all() and changed.count_nonzero() == 3 * 16
    features = torch.randn(1, 36, 2)
    pooled = questions.pooled(features, None, (6, 6), x)
    torch.testing.assert_close(pooled[0, 5], features.view(6, 6, 2)[2:4, 4:].mean((0, 1)))


@pytest.mark.parametrize("learn_from", ["behaviour", "reconstruction"])
def test_what_teaches_the_code(learn_from: str) -> None:
    small = build("predictive_codes", learn_from=learn_from)
    model = small.model.train()
    scores, evidence = model.step(small.inputs)
    terms = model.losses(scores, evidence, {"input": small.inputs, "target": torch.tensor([0, 1, 2, 0, 1])})
    assert terms.keys() == {"answers", "scores", "reconstruction", "auxiliary"}
    (terms["answers"] + terms["scores"]).backward()
    learned = model.code.encoder.weight.grad
    assert model.decoder.weight.grad is not None
    assert (learned is not None and bool(learned.any())) == (learn_from == "behaviour")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learn_from": "labels"}, "learn_from must be one of behaviour, reconstruction; got 'labels'"),
        ({"swaps": ["good"]}, "swaps are words, and the inputs are"),
        (
            {"domain": replace(SENTENCES), "backbone": BACKBONES["text"], "swaps": ["goood"]},
            "names 'goood', which is not",
        ),
        ({"domain": replace(ROWS, task="regression", classes=("y",))}, "PredictiveCodes"),
        ({"asked": 0}, "asked must be at least 1"),
    ],
)
def test_what_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("predictive_codes", **options)


def test_recipes_without_an_end_are_refused() -> None:
    stages = [{"name": "code", "epochs": 1, "train": ["code", "decoder"]}]
    model = build("predictive_codes").model
    for given, message in (
        (stages, "add {name: centre} before it"),
        ([{"name": "centre"}, *stages], "no stage trains the subject's head"),
        ([{"name": "centre"}, {"name": "head", "epochs": 1, "train": ["head"]}], "trains the subject after"),
    ):
        made = type(model)(ROWS, BACKBONES["table"], recipe={"stages": given})
        with pytest.raises(ValueError, match=message):
            made.check_recipe()
    with pytest.raises(ValueError, match="questions are about parts of"):
        Questions(AudioDomain(classes=("a", "b")))
