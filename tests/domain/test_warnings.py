"""What makes an answer doubtful is said: degenerate inputs, unknown words, values far from the training data."""

from dataclasses import replace

import pytest
import torch

from tests.small_models import IMAGES, ROWS, SENTENCES, SERIES
from tests.subwords import wordpiece
from zoo.domain import Domain
from zoo.domain.written import words_of


def warnings(domain: Domain, raw: object) -> list[str]:
    return domain.warnings(raw, domain.preprocess(raw))


def test_images() -> None:
    noise = torch.randint(0, 256, (3, 12, 10), dtype=torch.uint8)
    assert warnings(IMAGES, noise) == [] == warnings(IMAGES, noise[:, :2, :2])
    assert warnings(IMAGES, noise[:, :1, :1]) == [
        "The image has 1 × 1 pixels, which are enlarged to 12 × 10.",
        "All pixels of the image are equal.",
    ]
    assert warnings(IMAGES, torch.full((3, 50, 50), 7, dtype=torch.uint8)) == ["All pixels of the image are equal."]


def test_rows() -> None:
    assert warnings(ROWS, {"width": 1, "height": 2, "hue": 1}) == []
    assert warnings(ROWS, {"width": "5", "height": 5.0, "hue": "5"}) == ["All 3 values of the row are equal (5)."]
    known = replace(ROWS, mean=(1.0, 2.0, 3.0), std=(0.5, 1.0, 2.0))
    assert warnings(known, {"width": 1, "height": -9999, "hue": 3}) == [
        "'height' is -9999, which is 1e+04 standard deviations from the mean of the training data."
    ]


def test_series() -> None:
    steps = torch.randn(11, 2)
    assert warnings(SERIES, steps) == []
    assert warnings(SERIES, torch.ones(11, 2)) == ["All steps of the series are equal."]
    cut = replace(SERIES, uneven="zero", std=(2.0, 1.0))
    steps[3, 1] = 1e10
    found = warnings(cut, torch.cat([steps, steps]))
    assert found[0].startswith("'pressure' is 1e+10, which is 1e+10 standard deviations")
    assert found[1:] == ["The series has 22 steps; the model reads the first 11."]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Good FOOD", []),
        ("terrible awful dreadful", ["3 of 3 words are unknown to the model."]),
        ("a good place", ["1 of 3 words is unknown to the model."]),
        ("good " * 9, ["The text has 9 words; the model reads the first 7."]),
    ],
)
def test_texts(text: str, found: list[str]) -> None:
    assert warnings(SENTENCES, text) == found


@pytest.mark.parametrize(
    "text", ["Terrible FOOD,  good\nplace!", "İİ GOOD Σας food", "e\u0301 good ||| a b c d e f g", "x"]
)
def test_tokens_are_the_text_as_it_was_written(text: str) -> None:
    for domain in (SENTENCES, replace(SENTENCES, vocabulary=(), tokenizer=wordpiece())):
        x = domain.preprocess(text)
        tokens, rest = domain.tokens(x, text)
        assert "".join(token.before + token.text for token in tokens) + rest == text
        assert (
            len(tokens) == int((x != 0).sum())
            and [not token.known for token in tokens] == (x[: len(tokens)] == 1).tolist()
        )
    tokens, _ = SENTENCES.tokens(SENTENCES.preprocess("Terrible FOOD!"), "Terrible FOOD!")
    assert [(token.text, token.known) for token in tokens] == [("Terrible", False), ("FOOD", True), ("!", False)]
    assert words_of(tokens) == [[0], [1, 2]]
