"""Parts of text encoders of Hugging Face: their first layers, and the embeddings of some of their pieces."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from zoo.domain import read_tokenizer
from zoo.domain.subwords import Subwords
from zoo.utils.errors import short


def layers_of(network: nn.Module, layers: int) -> nn.ModuleList | None:
    """The list of the layers of a network; None if they are not a list of this length, as where they share weights."""
    return next((m for m in network.modules() if isinstance(m, nn.ModuleList) and len(m) == layers), None)


def cut_layers(network: Any, config: Any) -> None:
    """Leaves a network the first layers, as many as a config has.

    Raises:
        ValueError: the network shares the weights of its layers, or has fewer.
    """
    had, kept = network.config.num_hidden_layers, config.num_hidden_layers
    if kept == had:
        return
    found, name = layers_of(network, had), type(network).__name__
    if found is None or kept > had:
        why = f"it has {had}" if found is not None else "its layers share their weights"
        raise ValueError(f"the first {kept} layers of {name} cannot be used: {why}. Use all, layers: 0.")
    del found[kept:]
    limit_layers(network.config, kept)


def limit_layers(config: Any, layers: int) -> None:
    """Sets the number of layers of a config.

    Raises:
        ValueError: it has fewer.
    """
    if not 0 < layers <= config.num_hidden_layers:
        raise ValueError(
            f"layers must be 1 to {config.num_hidden_layers}, the number that the network has, or 0 for all; got "
            f"{layers}."
        )
    config.num_hidden_layers = layers
    if isinstance(kinds := getattr(config, "layer_types", None), list):
        config.layer_types = kinds[:layers]


def rows_of_pieces(model: str, subwords: Subwords, config: Any) -> list[int] | None:
    """The rows of a network's embedding that belong to the pieces of a tokenizer, by the text of the pieces.

    Args:
        model: with its own tokenizer, see `zoo.domain.read_tokenizer`.
        subwords: this tokenizer, or one with some of its pieces, see `zoo.domain.seen_pieces`.
        config: of the model.

    Returns:
        None if the numbers of the pieces are those of the rows.

    Raises:
        FileNotFoundError: the model has no tokenizer.
        ValueError: a piece that the model's own tokenizer does not have, or another number for padding.
    """
    if len(subwords.pieces) >= config.vocab_size:
        return None
    own = Subwords(read_tokenizer(model)).pieces
    if subwords.pieces == own:
        return None
    number = {piece: i for i, piece in enumerate(own)}
    if other := [piece for piece in subwords.pieces if piece not in number]:
        raise ValueError(
            f"the tokenizer has {len(other)} pieces that the one of {short(model)} does not have (first: "
            f"{other[0]!r}); give the data the tokenizer of the network itself, tokenizer: {model}."
        )
    rows, padding = [number[piece] for piece in subwords.pieces], config.pad_token_id or 0
    if padding >= len(rows) or rows[padding] != padding:
        raise ValueError(
            f"the network pads with piece {padding} ({own[padding]!r}), which this tokenizer does not have under that "
            "number; use all pieces."
        )
    return rows


@torch.no_grad()
def keep_rows(network: Any, rows: Sequence[int]) -> None:
    """Leaves a network some rows of the embedding of its pieces."""
    embedding = network.get_input_embeddings()
    embedding.weight = nn.Parameter(embedding.weight[list(rows)].clone())
    embedding.num_embeddings = network.config.vocab_size = len(rows)
