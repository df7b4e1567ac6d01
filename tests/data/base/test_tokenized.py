"""Tokenizers of code: where texts are cut, and that they follow from their texts; the cache of tokens."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.small_code import tokenizer
from tests.subwords import tokenizers
from zoo.data.base.tokenized import (
    PIECES,
    as_tokens,
    cache_folder,
    fingerprint,
    read_cached,
    train_tokenizer,
    write_cached,
)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ('print("hello world")\n', ["print", '("', "hello", " world", '")\n']),
        ("x += 12345\n", ["x", " +=", " ", "123", "45", "\n"]),
        ("def f(a=None):\n    return a\n", ["def", " f", "(a", "=None", "):\n", "   ", " return", " a", "\n"]),
        ("v = [[1]]\n\n\n", ["v", " =", " [[", "1", "]]\n\n\n"]),
        ("a\n\n\nb_c", ["a", "\n\n\n", "b", "_c"]),
    ],
)
def test_where_texts_are_cut(text: str, pieces: list[str]) -> None:
    library = tokenizers()
    split = library.pre_tokenizers.Split(library.Regex(PIECES), "isolated")
    assert [piece for piece, _ in split.pre_tokenize_str(text)] == pieces


@given(st.text(max_size=40))
def test_pieces_are_all_of_a_text(text: str) -> None:
    library = tokenizers()
    split = library.pre_tokenizers.Split(library.Regex(PIECES), "isolated")
    assert "".join(piece for piece, _ in split.pre_tokenize_str(text)) == text


def test_a_tokenizer_follows_from_its_texts() -> None:
    texts = [f"value_{i} = item + {i}\n" for i in range(300)]
    made = train_tokenizer(texts, 300)
    assert made == train_tokenizer(iter(texts), 300) and made != train_tokenizer(texts, 290)
    with pytest.raises(ValueError, match="vocabulary must hold the 256 bytes and 2 more; got 257"):
        train_tokenizer(texts, 257)


def test_documents_are_joined_by_their_end() -> None:
    made = tokenizer()
    one, two = (as_tokens([text], made) for text in ("x = 1\n", "<|end|> # no end\n"))
    assert one.dtype == torch.int32 and one[-1] == 1
    assert two.tolist().count(1) == 1 and two[-1] == 1 and int(two.min()) == 1
    both = as_tokens(["x = 1\n", "<|end|> # no end\n"] * 3, made, together=4)
    assert torch.equal(both, torch.cat([one, two] * 3))
    assert len(as_tokens([], made)) == 0


def test_the_cache_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.safetensors"
    assert read_cached(path) is None
    write_cached(path, {"train": torch.arange(5, dtype=torch.int32)}, "{}")
    arrays, text = read_cached(path)
    assert arrays["train"].tolist() == [0, 1, 2, 3, 4] and text == "{}"
    assert [p.name for p in path.parent.iterdir()] == ["a.safetensors"]
    path.write_bytes(path.read_bytes()[:30])
    assert read_cached(path) is None  # made anew, rather than a run that fails


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="the tokens are not cached in"):
        write_cached(tmp_path / "file" / "a.safetensors", {"train": torch.zeros(1)}, "{}")


def test_the_cache_lies_where_the_users_caches_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / "self-interpretable-zoo"
    assert cache_folder("$XDG_CACHE_HOME/here") == tmp_path / "here"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder(None) == Path.home() / ".cache/self-interpretable-zoo"


def test_the_fingerprint_is_of_settings_and_texts() -> None:
    names = {
        fingerprint({"a": 1}, ["x", "y"]),
        fingerprint({"a": 2}, ["x", "y"]),
        fingerprint({"a": 1}, ["xy"]),
        fingerprint({"a": 1}, ["y", "x"]),
    }
    assert len(names) == 4 and fingerprint({"a": 1}, ["x", "y"]) in names
