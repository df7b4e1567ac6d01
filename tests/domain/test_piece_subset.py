"""Tokenizers cut to seen pieces: what stays, what is cut finer, and what is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.subwords import SPECIAL, bytelevel, tokenizers, wordpiece
from zoo.data import TextTable
from zoo.domain import TextDomain, seen_pieces
from zoo.domain.subwords import Subwords

LETTERS = "abc"
LONGER = ("ab", "abc", "##bc", "##ca", "cab", "##cab", "bb", "##bb", "acab")
TEXTS = st.lists(st.text(LETTERS + " ", max_size=12), max_size=4)


def lettered() -> str:
    """The JSON text of a WordPiece tokenizer that has pieces for all of its characters."""
    library = tokenizers()
    pieces = (*SPECIAL, "[unused]", *LONGER, *LETTERS, *(f"##{letter}" for letter in LETTERS))
    made = library.Tokenizer(library.models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    made.add_special_tokens(list(SPECIAL))
    made.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    made.decoder = library.decoders.WordPiece()
    made.post_processor = library.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made.to_str()


WHOLE = lettered()


def cut(subwords: Subwords, text: str) -> list[str]:
    return [subwords.pieces[number] for number in subwords.encode(text)]


@given(TEXTS, st.text(LETTERS + "d ", max_size=12), st.integers(1, 3))
def test_every_text_that_was_read_is_read(texts: list[str], text: str, least: int) -> None:
    """No new unknown words, the same letters, and the same pieces where all of them stay."""
    whole, some = Subwords(WHOLE), Subwords(seen_pieces(WHOLE, texts, least))
    before, after = cut(whole, text), cut(some, text)
    assert before.count("[UNK]") == after.count("[UNK]")
    assert "".join(before).replace("##", "") == "".join(after).replace("##", "")
    if set(before) <= set(some.pieces):
        assert before == after


@given(TEXTS, st.integers(1, 3))
def test_what_stays(texts: list[str], least: int) -> None:
    whole, some = Subwords(WHOLE), Subwords(seen_pieces(WHOLE, texts, least))
    seen = [piece for text in texts for piece in cut(whole, text)]
    expected = [p for p in whole.pieces if p in SPECIAL or len(p.removeprefix("##")) == 1 or seen.count(p) >= least]
    assert list(some.pieces) == expected  # in the same order, "[unused]" left out
    assert [some.pieces[i] for i in (*some.before, some.unknown, *some.after)] == ["[CLS]", "[UNK]", "[SEP]"]


def test_special_tokens_get_their_new_numbers_in_each_kind_of_frame() -> None:
    library = tokenizers()
    made = library.Tokenizer.from_str(WHOLE)
    for frame in (library.processors.BertProcessing, library.processors.RobertaProcessing):
        made.add_special_tokens(["[END]"])  # behind the pieces, which become fewer
        made.post_processor = frame(("[END]", made.token_to_id("[END]")), ("[CLS]", 2))
        some = Subwords(seen_pieces(made.to_str(), ["ab"]))
        assert [some.pieces[i] for i in (*some.before, *some.after)] == ["[CLS]", "[END]"]
        assert some.tokenizer.encode("ab").tokens == ["[CLS]", "ab", "[END]"]


def test_a_page_shows_the_words_of_the_text() -> None:
    domain = TextDomain(classes=("a", "b"), tokenizer=seen_pieces(WHOLE, ["ab cab"]), length=8)
    x = domain.preprocess("ab acab cab")
    assert domain.pieces(x) == [["ab"], ["a", "c", "a", "b"], ["cab"]]
    tokens, rest = domain.tokens(x, "ab acab cab")
    assert "".join(token.before + token.text for token in tokens) + rest == "ab acab cab"


@pytest.mark.parametrize("make", [bytelevel, "frame"])
def test_other_tokenizers_are_refused(make: Any) -> None:
    made = json.loads(wordpiece() if make == "frame" else make())
    if make == "frame":
        made["post_processor"] = {"type": "Sequence", "processors": []}
    kind = "Sequence" if make == "frame" else "BPE"
    with pytest.raises(ValueError, match=rf"needs a WordPiece tokenizer like that of BERT; got one of type {kind}"):
        seen_pieces(json.dumps(made), ["good"])


def test_data_with_seen_pieces(tmp_path: Any) -> None:
    table = tmp_path / "t.csv"
    table.write_text("text,label\n" + "ab cab ab,x\nab,y\n" * 10 + "acab,x\n", encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(WHOLE, encoding="utf-8")
    options = {"path": str(table), "test": str(table), "tokenizer": str(tmp_path)}
    found = {least: set(TextTable(**options, pieces="seen", least=least)._domain.subwords.pieces) for least in (1, 2)}
    assert found[1] - found[2] == {"acab"} and {"ab", "cab"} <= found[2]
    assert TextTable(**options)._domain.tokenizer == WHOLE
    with pytest.raises(ValueError, match="pieces must be one of all, seen; got 'some'"):
        TextTable(**options, pieces="some")
    with pytest.raises(ValueError, match="pieces 'seen' are those of a tokenizer, and these data have a vocabulary of"):
        TextTable(str(table), pieces="seen")
