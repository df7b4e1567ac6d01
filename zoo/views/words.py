"""A text as it was written; unknown words are marked, and words that a unit or the model does not see are faded."""

from collections.abc import Sequence
from itertools import groupby

from zoo.domain.written import Token, words_of
from zoo.views.markup import escape

UNREAD = 300  # characters of the rest of a text that are shown


def written(tokens: Sequence[Token], rest: str = "", seen: Sequence[bool] | None = None) -> str:
    """HTML of the tokens of a text.

    Args:
        tokens: of the text.
        rest: what follows the last token.
        seen: for each token, whether it is shown fully; by default all are.
    """
    seen = [True] * len(tokens) if seen is None else seen
    words = "".join(
        f"{escape(tokens[word[0]].before)}<bdi>{_runs([(tokens[i], seen[i]) for i in word])}</bdi>"
        for word in words_of(tokens)
    )
    more = "…" if len(rest) > UNREAD else ""
    return words + (f"<span class='faded'>{escape(rest[:UNREAD])}{more}</span>" if rest.strip() else "")


def _runs(word: Sequence[tuple[Token, bool]]) -> str:
    """The tokens of a word; neighbours that look the same are one element."""
    parts = ""
    for (known, seen), run in groupby(word, key=lambda pair: (pair[0].known, pair[1])):
        text = escape("".join(token.text for token, _ in run))
        kinds = " ".join(name for name, there in (("unknown", not known), ("faded", not seen)) if there)
        title = "" if known else " title='unknown to the model'"
        parts += f"<span class='{kinds}'{title}>{text}</span>" if kinds else text
    return parts
