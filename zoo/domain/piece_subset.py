"""Tokenizers cut to the pieces that some texts use, so that a network needs few rows of its embedding."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from zoo.domain.subwords import Subwords

FRAMES = ("BertProcessing", "RobertaProcessing", "TemplateProcessing")  # ways to add special tokens around a text


def seen_pieces(tokenizer: str, texts: Iterable[str], least: int = 1) -> str:
    """The JSON text of a WordPiece tokenizer with the pieces that some texts use, which are numbered anew in order.

    Special tokens and pieces of one character stay. So a word whose piece is left out is cut into finer ones, and each
    word that the tokenizer could read is still read if all characters have pieces of their own, as they have in
    tokenizers of BERT. A text whose pieces all stay is cut as before.

    Args:
        tokenizer: JSON text, as `zoo.domain.read_tokenizer` gives it.
        texts: to count pieces in.
        least: smallest number of occurrences of a piece that stays.

    Raises:
        ValueError: not a tokenizer, or one of another kind than WordPiece.
    """
    whole = Subwords(tokenizer)
    made = json.loads(tokenizer)
    model, frame = made["model"], made.get("post_processor")
    if model.get("type") != "WordPiece" or (frame is not None and frame.get("type") not in FRAMES):
        got = model.get("type") if frame is None or model.get("type") != "WordPiece" else frame.get("type")
        raise ValueError(
            f"pieces 'seen' needs a WordPiece tokenizer like that of BERT; got one of type {got}. Use pieces 'all'."
        )
    count = Counter(number for text in texts for number in whole.encode(text))
    special = {*whole.before, *whole.after, whole.unknown, *(token["id"] for token in made["added_tokens"])}
    if made.get("padding") is not None:
        special.add(made["padding"]["pad_id"])
    mark = model["continuing_subword_prefix"]
    kept = [
        number
        for number, piece in enumerate(whole.pieces)
        if number in special or count[number] >= least or len(piece.removeprefix(mark)) == 1
    ]
    new = {number: i for i, number in enumerate(kept)}
    model["vocab"] = {whole.pieces[number]: i for number, i in new.items()}
    made["added_tokens"] = [{**token, "id": new[token["id"]]} for token in made["added_tokens"]]
    if frame is not None:
        made["post_processor"] = _renumbered(frame, new)
    made["padding"] = made["truncation"] = None
    return Subwords(json.dumps(made, ensure_ascii=False)).tokenizer.to_str()


def _renumbered(frame: Mapping[str, Any], new: Mapping[int, int]) -> dict[str, Any]:
    """What adds special tokens around a text, with new numbers for them."""
    if frame["type"] != "TemplateProcessing":
        return {**frame, **{end: [frame[end][0], new[frame[end][1]]] for end in ("cls", "sep")}}
    named = frame["special_tokens"].items()
    return {**frame, "special_tokens": {k: {**token, "ids": [new[i] for i in token["ids"]]} for k, token in named}}
