"""The tokenizer of published weight-sparse transformers, with the numbers that a domain of code requires."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module

import torch
from torch import Tensor

from zoo.domain.code import SPECIAL

# How texts are split before byte pairs are merged; a part of the published vocabulary.
SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def published_order(vocabulary: int, end: int) -> Tensor:
    """Published numbers (V,) of the tokens 1 to V: the end of a text, then all others in order.

    Raises:
        ValueError: `end` is out of range.
    """
    if not 0 <= end < vocabulary:
        raise ValueError(f"end must be from 0 to {vocabulary - 1}; got {end}.")
    return torch.tensor([end, *range(end), *range(end + 1, vocabulary)])


def openai_tokenizer(encoder: Mapping[str, int], merges: Iterable[str], end: int | None = None) -> str:
    """JSON text of the tokenizer of a published model, for `from_openai`.

    Args:
        encoder: number of each token, the content of encoder.json.
        merges: lines of vocab.bpe, each a pair of tokens; a first line "#version..." is skipped.
        end: number of the token that ends a text; by default the one after the last token of `encoder`.

    Raises:
        ValueError: the numbers of the tokens, with `end`, are not 0 to V - 1.
    """
    library = import_module("tokenizers")
    numbers = {piece: number for piece, number in encoder.items() if not piece.startswith("<|")}
    end = max(numbers.values()) + 1 if end is None else end
    if sorted([*numbers.values(), end]) != list(range(len(numbers) + 1)):
        raise ValueError(
            f"the numbers of {len(numbers)} tokens and end={end} must be 0 to {len(numbers)}, each once; give the "
            "content of encoder.json."
        )
    place = {number: i for i, number in enumerate(published_order(len(numbers) + 1, end).tolist(), 1)}
    vocabulary = dict(zip(SPECIAL, range(2), strict=True))
    vocabulary |= {piece: place[number] for piece, number in numbers.items()}
    pairs = [tuple(line.split()) for line in merges if line.strip() and not line.startswith("#version")]
    made = library.Tokenizer(library.models.BPE(vocabulary, pairs))
    split = library.pre_tokenizers.Split(library.Regex(SPLIT), "isolated")
    made.pre_tokenizer = library.pre_tokenizers.Sequence(
        [split, library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = library.decoders.ByteLevel()
    made.add_special_tokens(list(SPECIAL))
    return made.to_str()


def numbers_tokenizer(published: Sequence[int]) -> str:
    """JSON text of a tokenizer whose texts are published numbers of tokens, separated by blanks.

    Args:
        published: number of each token from 1 on.
    """
    library = import_module("tokenizers")
    vocabulary = {SPECIAL[0]: 0, SPECIAL[1]: 1, **{str(n): i for i, n in enumerate(published[1:], 2)}}
    made = library.Tokenizer(library.models.WordLevel(vocabulary, unk_token=SPECIAL[1]))
    made.pre_tokenizer = library.pre_tokenizers.WhitespaceSplit()
    return made.to_str()
