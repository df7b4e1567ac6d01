"""docs/models.md says what the cards of the shipped checkpoints say."""

from benchmarks.models_page import CHECKPOINTS, PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(CHECKPOINTS), "run `python -m benchmarks.models_page`"
