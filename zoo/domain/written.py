"""Tokens of a text as they were written, in place of what the vocabulary has for them."""

from collections.abc import Sequence
from typing import NamedTuple


class Token(NamedTuple):
    """One token of a text.

    Attributes:
        before: what separates it from the token before: blanks, or "" inside of a word.
        text: as it was written.
        known: whether the model knows it.
    """

    before: str
    text: str
    known: bool


def written_tokens(text: str, spans: Sequence[tuple[int, int]], known: Sequence[bool]) -> tuple[list[Token], str]:
    """Cuts a text into its tokens; joined with what is before each, they are the text again.

    Args:
        text: as it was written.
        spans: start and end of each token in it, in order; tokens that share a character follow each other.
        known: for each token, whether the model knows it.

    Returns:
        the tokens, and the rest of the text, which follows the last one.
    """
    tokens, end = [], 0
    for (start, stop), is_known in zip(spans, known, strict=True):
        start, stop = max(start, end), max(stop, end)
        tokens.append(Token(text[end:start], text[start:stop], is_known))
        end = stop
    return tokens, text[end:]


def words_of(tokens: Sequence[Token]) -> list[list[int]]:
    """Numbers of the tokens of each word: of those that nothing separates."""
    words: list[list[int]] = []
    for i, token in enumerate(tokens):
        if not words or token.before:
            words.append([])
        words[-1].append(i)
    return words
