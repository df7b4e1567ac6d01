"""Prompts of code as token numbers and back, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.small_code import code_domain
from tests.subwords import wordpiece
from zoo.domain import CodeDomain, Domain

LONG = "for item in value:\n    print(item)\n"


@pytest.fixture(scope="module")
def domain() -> CodeDomain:
    return code_domain(length=16, vocabulary=700)


def test_prompts_become_numbers_and_come_back(domain: CodeDomain) -> None:
    x = domain.preprocess("for item in value:\n")
    assert x.dtype == torch.long and x.shape == (16,)
    assert domain.tokens(x) == ["for", " item", " in", " value", ":\n"]
    assert domain.lengths(torch.stack([x, domain.preprocess("x")])).tolist() == [5, 1]
    assert x[5:].tolist() == [0] * 11


@given(st.text(min_size=1, max_size=12))
def test_any_text_can_be_represented(text: str) -> None:
    """Bytes are the last resort: nothing is unknown, also not what looks like a special token."""
    domain = code_domain(length=60, vocabulary=300)
    numbers = domain.encode(text)
    assert min(numbers) >= 2 and domain.pieces.tokenizer.decode(numbers) == text
    domain.check(domain.preprocess(text)[None], "Model")


def test_no_text_holds_a_special_token(domain: CodeDomain) -> None:
    for text in ("<|pad|>", "<|end|>", "x<|end|>y"):
        assert "".join(domain.texts[n] for n in domain.encode(text)) == text
        assert min(domain.encode(text)) > 1


def test_too_long_prompts_are_refused_or_lose_their_beginning(domain: CodeDomain) -> None:
    whole = domain.encode(LONG * 3)
    message = rf"the prompt has {len(whole)} tokens, but the model reads at most 16; .*preprocess\(text, cut=True\)"
    with pytest.raises(ValueError, match=message):
        domain.preprocess(LONG * 3)
    assert domain.preprocess(LONG * 3, cut=True).tolist() == whole[-16:]
    with pytest.raises(ValueError, match="the prompt is empty; give at least one character"):
        domain.preprocess("")


def test_single_tokens_and_what_is_none(domain: CodeDomain) -> None:
    assert domain.texts[domain.token(" item")] == " item"
    with pytest.raises(ValueError, match=r"' item in' must be a single token; it has 2: ' item', ' in'"):
        domain.token(" item in")
    with pytest.raises(ValueError, match="'' must be a single token; it has 0: none"):
        domain.token("")
    assert domain.first_token(" item in") == domain.token(" item")
    with pytest.raises(ValueError, match="an empty text has no tokens"):
        domain.first_token("")


def test_classes_are_the_tokens_by_readable_names(domain: CodeDomain) -> None:
    assert len(domain.classes) == len(set(domain.classes)) == domain.size == 700
    assert domain.classes[domain.token(":\n")] == r"':\n'" and domain.classes[domain.token(" in")] == "' in'"
    assert domain.classes[:2] == ("'<|pad|>'", "'<|end|>'") and all(name.isprintable() for name in domain.classes)
    assert sum(name.startswith("'\ufffd' #") for name in domain.classes) > 100  # parts of characters, told apart
    with pytest.raises(ValueError, match=r"the classes .* are the 700 tokens of its tokenizer; got 2 names"):
        replace(domain, classes=("a", "b"))


def test_domain_survives_plain_data(domain: CodeDomain) -> None:
    assert Domain.from_dict(domain.to_dict()) == domain


def test_tokenizers_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"first tokens .* must be <\|pad\|> and <\|end\|>; got \[PAD\], \[UNK\]"):
        CodeDomain(tokenizer=wordpiece())
    with pytest.raises(ValueError, match="length must be at least 1; got 0"):
        code_domain(length=0)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda x: x.float(), TypeError, r"Model expects prompts \(B, 16\) of token numbers, int64; got torch.float32"),
        (lambda x: x[0], ValueError, "Add a batch dimension"),
        (lambda x: x[:, :5], ValueError, r"expects prompts \(B, 16\); got \(2, 5\)"),
        (lambda x: x[:0], ValueError, "got an empty batch"),
        (lambda x: x - 1, ValueError, "got token numbers from -1 to"),
        (lambda x: x + 700, ValueError, "expected 0 to 699"),
        (lambda x: x.index_fill(1, torch.tensor(2), 0), ValueError, "padding .* before a token in row 0"),
        (lambda x: torch.stack([x[0], x[0] * 0]), ValueError, "row 1 of the batch; .* have at least one token"),
    ],
)
def test_what_is_no_batch_of_prompts_is_refused(domain: CodeDomain, change, kind, message: str) -> None:
    x = torch.stack([domain.preprocess("for item in value"), domain.preprocess("if item == 3:\n")])
    domain.check(x, "Model")
    with pytest.raises(kind, match=message):
        domain.check(change(x), "Model")


def test_files_are_read(domain: CodeDomain, tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("if item:\n", encoding="utf-8")
    assert domain.tokens(domain.read(file)) == ["if", " item", ":\n"]
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"a.py is not UTF-8 text .*; convert it, or leave it out"):
        domain.read(file)
    file.write_text(LONG * 3)
    with pytest.raises(ValueError, match=r"a.py: the prompt has \d+ tokens"):
        domain.read(file)
    with pytest.raises(FileNotFoundError, match=r"no file of code at .*b.py"):
        domain.read(tmp_path / "b.py")


def test_examples_are_seeded_prompts(domain: CodeDomain) -> None:
    some = domain.example(5, torch.Generator().manual_seed(0))
    domain.check(some, "Model")
    assert torch.equal(some, domain.example(5, torch.Generator().manual_seed(0)))
