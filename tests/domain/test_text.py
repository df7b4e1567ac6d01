"""Texts as token numbers and back, and what is refused."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.domain import Domain, TextDomain
from zoo.domain.text import build_vocabulary, split_words

DOMAIN = TextDomain(classes=("a", "b"), vocabulary=("the", "food", "was", "good", "!", "don't"), length=6)


def test_words_become_numbers_and_come_back() -> None:
    x = DOMAIN.preprocess("The FOOD was good!")
    assert x.tolist() == [2, 3, 4, 5, 6, 0] and x.dtype == torch.long
    assert DOMAIN.words(x) == ["the", "food", "was", "good", "!"]


def test_unknown_words_are_marked_and_long_texts_are_cut() -> None:
    x = DOMAIN.preprocess("the pizza was good the food was good")
    assert x.tolist() == [2, 1, 4, 5, 2, 3] and DOMAIN.words(x)[1] == "‹?›"


def test_apostrophes_stay_in_words() -> None:
    assert split_words("Don't, it's 'fine'.") == ["don't", ",", "it's", "'", "fine", "'", "."]


def test_vocabulary_is_by_frequency_then_by_name() -> None:
    texts = ["b a a", "c b a", "d"]
    assert build_vocabulary(texts) == ("a", "b") and build_vocabulary(texts, least=1, most=3) == ("a", "b", "c")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    if not split_words(text):
        with pytest.raises(ValueError, match="the text has no words"):
            DOMAIN.preprocess(text)
    else:
        x = DOMAIN.preprocess(text)
        assert x.shape == (6,) and int(x.min()) >= 0 and int(x.max()) < DOMAIN.size
        DOMAIN.check(x[None], "Model")


def test_domain_survives_plain_data() -> None:
    assert Domain.from_dict(DOMAIN.to_dict()) == DOMAIN


def test_files_are_read_as_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Good food!", encoding="utf-8")
    assert DOMAIN.words(DOMAIN.read(tmp_path / "a.txt")) == ["good", "food", "!"]
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"b.txt is not UTF-8 text"):
        DOMAIN.read(tmp_path / "b.txt")
    with pytest.raises(FileNotFoundError, match=r"no text file at .*c.txt"):
        DOMAIN.read(tmp_path / "c.txt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 0}, "length must be at least 1; got 0"),
        ({"vocabulary": ()}, "the vocabulary must be different words, at least one; got 0"),
        ({"vocabulary": ("a", "a")}, "the vocabulary must be different words"),
    ],
)
def test_domain_that_cannot_be_right(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextDomain(**{"classes": ("a", "b"), "vocabulary": ("x",), **change})
