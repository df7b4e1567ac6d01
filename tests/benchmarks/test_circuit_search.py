"""The page of the search for circuits is that of its record."""

import json

from benchmarks.circuit_search import HERE, page


def test_the_page_is_that_of_the_record() -> None:
    path = HERE / "CIRCUIT_SEARCH.json"
    assert path.with_suffix(".md").read_text() == page(json.loads(path.read_text()))
