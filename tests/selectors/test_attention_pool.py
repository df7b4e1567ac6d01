"""Attention pooling against a loop over its formula, its locality, and what it refuses."""

import math
from dataclasses import replace

import pytest
import torch

from tests.small_models import ROWS, SENTENCES, SERIES, TEXTS, build
from zoo.domain.text import PAD
from zoo.networks.encoders import create_encoder
from zoo.selectors.attention_pool import AttentionPool

LOCAL = {"name": "convnet1d", "widths": [8, 8], "kernels": [3]}


@torch.no_grad()
@pytest.mark.parametrize("attention", ["label", "shared"])
@pytest.mark.parametrize("elements", [{}, {"sentences": 2}], ids=["words", "sentences"])
def test_contributions_are_those_of_the_formula(attention: str, elements: dict) -> None:
    texts = [*TEXTS[:4], "good . bad food"]
    domain = replace(SENTENCES, vocabulary=(*SENTENCES.vocabulary, "."))
    torch.manual_seed(0)
    model = AttentionPool(domain, LOCAL, elements, attention).eval()  # pyright: ignore[reportArgumentType]
    x = torch.stack([domain.preprocess(text) for text in texts])
    explanation, states = model.explain(x, every_class=True), model.backbone.states(x)
    assert explanation.contributions is not None and explanation.effects is not None
    for row, text in enumerate(texts):
        words = min(len(text.split()), domain.length)
        groups = [[t] for t in range(words)]
        if elements:
            end = text.split().index(".") + 1 if "." in text.split() else words
            groups = [g for g in (list(range(end)), list(range(end, words))) if g]
        z = [sum(states[row, t].double() for t in g) / len(g) for g in groups]
        for k in range(3):
            q = model.query.weight[k if attention == "label" else 0].double()
            powers = [math.exp(float(q @ v)) for v in z]
            parts = [p / sum(powers) * float(model.head.weight[k].double() @ v) for p, v in zip(powers, z, strict=True)]
            found = explanation.effects[row, :, k].tolist()
            assert found == pytest.approx(parts + [0.0] * (len(found) - len(parts)), abs=1e-5)
            assert float(explanation.scores[row, k]) == pytest.approx(sum(parts) + float(model.head.bias[k]), abs=1e-5)
        assert explanation.activation[row].tolist() == [1.0] * len(groups) + [0.0] * (
            len(explanation.units) - len(groups)
        )
        product = explanation.details["attention"] * explanation.details["vote"]
        torch.testing.assert_close(product, explanation.contributions)


@torch.no_grad()
def test_votes_depend_on_the_words_around_and_padding_on_nothing() -> None:
    model = build("attention_pool", "local").model
    assert isinstance(model, AttentionPool)
    x = SENTENCES.preprocess("good food bad place loud")[None]
    changed = x.clone()
    changed[0, 2] = SENTENCES.preprocess("quiet")[0]
    votes = [model.step(v)[1].state["votes"] for v in (x, changed)]
    assert (votes[0] != votes[1]).any(2)[0].nonzero().flatten().tolist() == [1, 2, 3]
    assert model.explain(x).statements == ("The vote of each position depends on 3 words, itself and those around it.",)
    short = AttentionPool(replace(SENTENCES, length=5), LOCAL).eval()
    short.load_state_dict(model.state_dict())
    torch.testing.assert_close(short(x[:, :5]), model(x))
    none = model.explain(torch.full_like(x, PAD))
    assert torch.equal(none.scores[0], model.head.bias) and not bool(none.activation.any())


def test_stretches_of_a_series_have_their_steps_and_field() -> None:
    model = build("attention_pool", "series").model
    assert isinstance(model, AttentionPool)
    names = [unit.name for unit in model.units()]
    assert names == ["steps 0 to 2", "steps 3 to 5", "steps 6 to 8", "steps 9 to 10"]
    assert model.positions.locality() == "8 steps, itself and those around it"
    x = torch.randn(1, 11, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.evidence(x).state["votes"][0, 1].square().sum(), x)
    seen = gradient[0].abs().sum(1).nonzero().flatten().tolist()
    assert set(seen) <= set(range(1, 9)) and model.positions.reads == 8  # 3 + (4 - 1) + (3 - 1) steps


def test_what_reads_everything_says_so() -> None:
    model = build("attention_pool").model
    assert model.explain(SENTENCES.preprocess("good food")[None]).statements == (
        "The vote of each position depends on the complete text.",
    )


def test_other_inputs_and_backbones_are_refused() -> None:
    with pytest.raises(ValueError, match="AttentionPool reads text, series, audio; got a domain of rows"):
        AttentionPool(ROWS)
    with pytest.raises(ValueError, match="attention must be one of label, shared; got 'none'"):
        AttentionPool(SERIES, attention="none")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"a kernel for each convolution, all at least 1.*got widths \[8\], kernels"):
        create_encoder({**LOCAL, "widths": [8]}, SENTENCES)
