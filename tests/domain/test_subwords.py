"""Texts cut by the tokenizer of a pretrained encoder: numbers, words, and what is refused."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.subwords import SPECIAL, WORDS, bytelevel, tiny_bert, tokenizers, wordpiece
from zoo.domain import Domain, TextDomain, read_tokenizer
from zoo.domain.subwords import Subwords
from zoo.domain.text import FIRST, PAD, UNKNOWN


def domain(length: int = 8, tokenizer: str = "") -> TextDomain:
    return TextDomain(classes=("a", "b"), tokenizer=tokenizer or wordpiece(), length=length)


def test_pieces_have_their_number_plus_two_and_no_special_token_is_in_the_input() -> None:
    x = domain().preprocess("Unbelievable FOOD, good!")
    pieces = ("un", "##believ", "##able", "food", None, "good", "!")
    expected = [UNKNOWN if p is None else (*SPECIAL, *WORDS).index(p) + FIRST for p in pieces]
    assert x.tolist() == [*expected, PAD] and x.dtype == torch.long
    assert domain().size == len(SPECIAL) + len(WORDS) + FIRST


def test_pieces_come_back_as_words() -> None:
    x = domain().preprocess("unbelievable pizza, good!")
    assert domain().pieces(x) == [["un", "believ", "able"], ["‹?›"], ["‹?›"], ["good", "!"]]
    assert domain().words(x) == ["unbelievable", "‹?›", "‹?›", "good!"]


def test_bytes_come_back_as_words() -> None:
    """Four bytes are one character, so that three tokens add nothing; a newline parts words as a blank does."""
    bytewise = domain(40, bytelevel())
    x = bytewise.preprocess("not good\n\U0001f600 naïve")
    assert bytewise.words(x) == ["not", "good", "\U0001f600", "naïve"]
    assert bytewise.pieces(x)[1:] == [["good"], ["", "", "", "", "\U0001f600"], ["", "n", "a", "", "ï", "v", "e"]]
    assert sum(map(len, bytewise.pieces(x))) == int((x != PAD).sum())


def test_padding_of_another_number_is_padding_all_the_same() -> None:
    """RoBERTa's number of padding is 1, which is a piece like any other here."""
    bytewise = domain(6, bytelevel())
    x = bytewise.preprocess("good")
    assert x.tolist()[-1] == PAD and (x[1:] != bytewise.subwords.pieces.index("<pad>") + FIRST).all()
    assert bytewise.subwords.before == [0] and bytewise.subwords.after == [2]


def test_special_tokens_in_a_text_are_text() -> None:
    x = domain().preprocess("[CLS] good [SEP]")
    assert not {SPECIAL.index(s) + FIRST for s in ("[CLS]", "[SEP]")} & set(x.tolist())


def test_what_goes_around_a_text() -> None:
    found = Subwords(wordpiece())
    assert (found.before, found.after, found.unknown) == ([2], [3], 1)
    library = tokenizers()
    plain = library.Tokenizer(library.models.WordLevel({"good": 0, "?": 1}, unk_token="?"))
    found = Subwords(plain.to_str())
    assert (found.before, found.after, found.unknown, found.pieces) == ([], [], 1, ("good", "?"))


def test_sentences_and_questions_are_found() -> None:
    x = domain(12).preprocess("good place || | bad food ! ! bad. good")[None]
    assert domain(12).sentences(x)[0].tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2]
    assert domain(12).question(x)[0].tolist() == [True] * 5 + [False] * 7


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for tokenizer in (wordpiece(), bytelevel()):
        made = domain(8, tokenizer)
        try:
            x = made.preprocess(text)
        except ValueError as error:
            assert "the text has no words" in str(error)
        else:
            made.check(x[None], "Model")
            assert sum(map(len, made.pieces(x))) == int((x != PAD).sum())


def test_domain_survives_plain_data_copies_and_processes() -> None:
    made = domain()
    plain = yaml.safe_load(yaml.safe_dump(made.to_dict(), allow_unicode=True))
    for other in (Domain.from_dict(plain), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other == made and torch.equal(other.preprocess("good food"), made.preprocess("good food"))


def test_a_tokenizer_is_read_from_a_folder_and_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(wordpiece(), encoding="utf-8")
    assert read_tokenizer(tmp_path) == read_tokenizer(str(tmp_path / "tokenizer.json")) == wordpiece()


def test_a_folder_of_transformers_holds_one_too(tmp_path: Path) -> None:
    assert TextDomain(classes=("a",), tokenizer=read_tokenizer(tiny_bert(tmp_path))).words(
        domain().preprocess("good food")
    ) == ["good", "food"]


def test_no_tokenizer_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        FileNotFoundError, match=r"no tokenizer '.*none': give a folder with tokenizer.json, or the name"
    ):
        read_tokenizer(tmp_path / "none")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer must be the JSON text of a tokenizer, .*; got '{}'"):
        read_tokenizer(tmp_path)


def test_domain_that_cannot_be_right() -> None:
    with pytest.raises(ValueError, match="has a vocabulary or a tokenizer; got both"):
        TextDomain(classes=("a",), vocabulary=("x",), tokenizer=wordpiece())
    with pytest.raises(
        ValueError, match=r"tokenizer must be the JSON text of a tokenizer, .*; got 'bert-base-uncased'"
    ):
        TextDomain(classes=("a",), tokenizer="bert-base-uncased")
    with pytest.raises(ValueError, match="has a vocabulary and no tokenizer; create its data with tokenizer=NAME"):
        _ = TextDomain(classes=("a",), vocabulary=("x",)).subwords
