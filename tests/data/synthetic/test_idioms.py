"""Generated idioms: valid Python, repeatable, and without the pairs of nouns that are kept for tasks."""

import ast
from itertools import islice

import pytest

from zoo.data.synthetic.idioms import (
    CLASSES,
    FUNCTIONS,
    IDIOMS,
    NOUNS,
    RESERVED,
    Writer,
    documents,
    nouns,
    reserved,
    snippet,
)


def test_documents_follow_from_the_seed() -> None:
    first = list(islice(documents(0), 5))
    assert first == list(islice(documents(0), 5)) and first != list(islice(documents(1), 5))


@pytest.mark.parametrize("write", IDIOMS, ids=lambda write: write.__name__.lstrip("_"))
def test_idioms_are_python_of_more_than_one_form(write) -> None:
    writer, forms = Writer(0), set()
    for _ in range(60):
        tree = ast.parse(text := write(writer))
        assert nouns(text) and text.endswith("\n")
        forms.add(tuple(type(node) for node in ast.walk(tree)))
    assert len(forms) > 1 or write.__name__ in ("_swap", "_init", "_kwargs", "_quotes", "_mode", "_forever")


def test_all_idioms_and_words_occur() -> None:
    text = "".join(islice(documents(0, 60), 100))
    assert len(IDIOMS) >= 20 and set(nouns(text)) == set(NOUNS)
    assert all(name in text for name in (*FUNCTIONS, *CLASSES))
    assert not {*NOUNS} & {*FUNCTIONS}


def test_no_document_has_a_reserved_pair() -> None:
    """Whatever lies between two nouns, also where one idiom ends and the next begins."""
    for text in islice(documents(0, 60), 100):
        assert not reserved(text)


def test_reserved_pairs_are_a_fixed_share_of_all() -> None:
    assert 0.1 < len(RESERVED) / (len(NOUNS) * (len(NOUNS) - 1)) < 0.15
    assert sorted(RESERVED)[0] == ("angle", "child")  # the same on every machine
    assert reserved("angle = 3\nfor child") and reserved("angle angle child")
    assert not reserved("angle buffer angle") and not reserved("angle angle")


def test_a_snippet_heeds_the_noun_before_it() -> None:
    writer = Writer(0)
    assert not any(reserved(f"angle {snippet(writer, 'angle')}") for _ in range(500))
