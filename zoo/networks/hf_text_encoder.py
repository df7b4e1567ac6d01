"""Pretrained text encoders of Hugging Face, for texts cut by their own tokenizer."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo.domain import TextDomain
from zoo.domain.text import FIRST, PAD, UNKNOWN
from zoo.networks.base import Features, StateEncoder
from zoo.networks.blocks import freeze, states_of
from zoo.networks.hf_config import PROVENANCE, build_network, make_config, read_config
from zoo.networks.hf_parts import layers_of, limit_layers, rows_of_pieces
from zoo.networks.text_encoders import POOLINGS, masked_mean
from zoo.utils.checks import check_choice

PLACED = ("bert", "electra")  # read the position of each token as an argument, from 0
SHIFTED = ("camembert", "mpnet", "roberta", "xlm-roberta")  # their positions count from the number of padding + 1
POOLERS = {"tanh": torch.tanh, "relu": torch.relu, "gelu": nn.functional.gelu}


class HuggingFaceText(StateEncoder):
    """A text encoder of the library `transformers`, pooled by the mean: token numbers (B, T) to (B, `channels`).

    The special tokens of the tokenizer, such as [CLS] and [SEP] of BERT, are added around each text here, so the
    network reads a few more than T positions.

    A checkpoint does not need the hub: it keeps `spec`, which has the network's config as plain data.

    Args:
        domain: of the texts, with the network's own tokenizer.
        model: a folder written by `save_pretrained`, with safetensors; the name of a text encoder of
            `zoo.utils.weight_packages`, such as "all-MiniLM-L6-v2"; or that of a model on the Hugging Face hub.
        config: the network's architecture as in its config.json. Without `model`, the weights start at random.
        tune: number of last layers that can learn; 0: everything. The other weights become buffers, which no stage
            trains, without dropout.
        pooling: "masked": the mean over the text's tokens; "padded": the mean over all positions, special tokens and
            padding included, as in the code of Tan et al. (PAKDD 2024); "first": the state of the first special token,
            such as [CLS], as classifiers of Hugging Face read it.
        pooler: "tanh", "relu" or "gelu": a linear layer and that function after the pooling, as these classifiers have
            before their last layer.
        layers: number of the network's first layers that are used; 0: all.

    A domain whose tokenizer has some of the pieces of the network's own (`pieces: seen` of the data) gets the rows of
    their embeddings.

    Attributes:
        spec: the arguments as plain data, with the config of the network.
        fixed: the modules that cannot learn.

    Raises:
        FileNotFoundError: no such model.
        ValueError: a domain without a tokenizer, a tokenizer or a length too large for the network, another network
            than one of `zoo.networks.hf_config.ENCODERS`, an unknown pooling or pooler, the pooling "first" without
            such a token, or fewer layers than `tune` or `layers`.
    """

    before: Tensor  # numbers of the special tokens before a text
    after: Tensor  # and behind it

    def __init__(
        self,
        domain: TextDomain,
        model: str | None = None,
        config: Mapping[str, Any] | None = None,
        pooling: str = "masked",
        tune: int = 0,
        pooler: str | None = None,
        layers: int = 0,
    ) -> None:
        super().__init__()
        check_choice((*POOLINGS, "first"), pooling=pooling)
        if pooler is not None:
            check_choice(tuple(POOLERS), pooler=pooler)
        if not domain.tokenizer:
            raise ValueError(
                "the backbone 'hf' reads texts cut by its own tokenizer, and this domain has a vocabulary of words; "
                f"give the data tokenizer: {model or 'NAME'}."
            )
        if config is not None:
            found = make_config(config)
        elif model is not None:
            found = read_config(model)
        else:
            raise ValueError("the backbone 'hf' needs a model, such as bert-base-uncased or a folder; got none.")
        tokens, subwords = found.vocab_size, domain.subwords
        if len(subwords.pieces) > tokens:
            raise ValueError(
                f"the tokenizer has {len(subwords.pieces)} pieces, the network knows {tokens}; give the data the "
                f"tokenizer of the network itself, tokenizer: {model or 'NAME'}."
            )
        if pooling == "first" and not subwords.before:
            raise ValueError("pooling 'first' reads a special token before the text, and the tokenizer adds none.")
        self.pooling, self.pooler_kind = pooling, pooler
        self.padding = found.pad_token_id or 0
        if layers:
            limit_layers(found, layers)
        rows = None
        if model is not None and (rows := rows_of_pieces(model, subwords, read_config(model))) is not None:
            found.vocab_size = len(rows)
        self.unknown = self.padding if subwords.unknown is None else subwords.unknown
        self.register_buffer("before", torch.tensor(subwords.before, dtype=torch.long), persistent=False)
        self.register_buffer("after", torch.tensor(subwords.after, dtype=torch.long), persistent=False)
        kept = json.loads(found.to_json_string(use_diff=True))
        self.spec: dict[str, Any] = {
            "name": "hf",
            **({"model": model} if model else {}),
            "config": {key: value for key, value in kept.items() if key not in PROVENANCE},
            "pooling": pooling,
            **({"tune": tune} if tune else {}),
            **({"pooler": pooler} if pooler else {}),
            **({"layers": layers} if layers else {}),
        }
        self._check_length(found, domain.length)
        self.network: Any = build_network(model, found, rows)
        self.channels: int = found.hidden_size
        self.pooler = None if pooler is None else nn.Linear(self.channels, self.channels)
        self.places = found.model_type in PLACED
        self.fixed = fixed_modules(self.network, tune, found.num_hidden_layers) if tune else []
        freeze(self.fixed)

    @property
    def fixed_names(self) -> set[str]:
        """Names in the state of what cannot learn."""
        return states_of(self, self.fixed)

    def train(self, mode: bool = True) -> "HuggingFaceText":
        super().train(mode)
        for module in self.fixed:
            module.training = False  # no dropout
        return self

    def states(self, x: Tensor) -> Tensor:
        """Encodes each token: token numbers (B, T) to (B, T, `channels`)."""
        seen, _ = trimmed(x, None)
        h = self._tokens(self._hidden(seen), seen)
        return nn.functional.pad(h, (0, 0, 0, x.shape[1] - seen.shape[1]))

    def forward(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        """Encodes texts (B, T) as vectors (B, `channels`).

        Args:
            x: token numbers (B, T), or `Features`.
            place: (B, T) position of each token in its text, if tokens were left out; by default 0, 1, 2, ...

        Raises:
            ValueError: places for a network that has none, see `places`.
        """
        if isinstance(x, Features):
            return x.as_subclass(Tensor)
        if self.pooling != "padded":
            x, place = trimmed(x, place)
        h = self._hidden(x, place)
        if self.pooling == "first":
            h = h[:, 0]
        else:
            h = h.mean(1) if self.pooling == "padded" else masked_mean(self._tokens(h, x), x != PAD)
        return h if self.pooler is None else POOLERS[str(self.pooler_kind)](self.pooler(h))

    def _tokens(self, h: Tensor, x: Tensor) -> Tensor:
        return h[:, len(self.before) : len(self.before) + x.shape[1]]

    def _hidden(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        """States of the network's last layer (B, before + T + after, `channels`)."""
        if x.is_meta:  # the library's attention masks read values
            return x.new_empty(
                len(x), len(self.before) + x.shape[1] + len(self.after), self.channels, dtype=torch.float
            )
        inputs, behind = self.inputs(x)
        placed = {} if place is None else {"position_ids": self._positions(place, x != PAD, behind)}
        return self.network(**inputs, **placed).last_hidden_state

    def inputs(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """What the network reads of texts (B, T), (B, before + T + after) each; columns of the tokens after a text."""
        rows, words = x.shape[0], x != PAD
        own = torch.where(words, x - FIRST, self.padding).masked_fill(x == UNKNOWN, self.unknown)
        order = torch.arange(1, x.shape[1] + 1, device=x.device)
        end = len(self.before) + (words * order).amax(1, keepdim=True)  # (B, 1) the column after the text
        behind = end + torch.arange(len(self.after), device=x.device)
        room = x.new_full((rows, len(self.after)), self.padding)
        ids = torch.cat([self.before.expand(rows, -1), own, room], 1).scatter(1, behind, self.after.expand(rows, -1))
        there = torch.cat([torch.ones_like(ids[:, : len(self.before)]), words.long(), torch.zeros_like(room)], 1)
        there = there.scatter(1, behind, torch.ones_like(behind))
        return {"input_ids": ids, "attention_mask": there}, behind

    def _positions(self, place: Tensor, words: Tensor, behind: Tensor) -> Tensor:
        """Positions (B, before + T + after) for words at given places; the special tokens follow the last word."""
        if not self.places:
            raise ValueError(f"{type(self.network).__name__} has no positions for words that follow words left out.")
        first, rows = len(self.before), place.shape[0]
        own = first + torch.where(words, place, 0)
        last = (words * (place + 1)).amax(1, keepdim=True) + first  # (B, 1)
        front = torch.arange(first, device=place.device).expand(rows, -1)
        after = torch.arange(len(self.after), device=place.device)
        columns = torch.cat([front, own, torch.zeros_like(behind)], 1)
        return columns.scatter(1, behind, last + after)

    def _check_length(self, config: Any, length: int) -> None:
        """Refuses texts that are longer than the network has positions for.

        Raises:
            ValueError: gives both numbers.
        """
        shift = self.padding + 1 if config.model_type in SHIFTED else 0
        positions = config.max_position_embeddings - shift
        if len(self.before) + length + len(self.after) > positions:
            raise ValueError(
                f"{config.model_type} cannot read texts of {length} tokens and {len(self.before)} + {len(self.after)} "
                f"special ones (it has {positions} positions). Give the data a smaller length."
            )


def trimmed(x: Tensor, place: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """A batch without the columns at its end that are padding in all rows; at least one column is kept."""
    if x.is_meta or torch.compiler.is_compiling():  # the length must not depend on values
        return x, place
    length = max(int(((x != PAD).any(0) * torch.arange(1, x.shape[1] + 1, device=x.device)).amax()), 1)
    return x[:, :length], None if place is None else place[:, :length]


def fixed_modules(network: nn.Module, tune: int, layers: int) -> list[nn.Module]:
    """All modules of a network but those in its last `tune` layers.

    Raises:
        ValueError: the network has not so many layers, or shares the weights of its layers.
    """
    found = layers_of(network, layers)
    if found is None or not 0 < tune <= layers:
        had = "no" if found is None else layers
        raise ValueError(
            f"cannot tune the last {tune} layers of {type(network).__name__}: it has {had} "
            "layers of their own. Choose a smaller number, or 0 to train everything."
        )
    learning = {id(module) for layer in found[-tune:] for module in layer.modules()}
    return [module for module in network.modules() if id(module) not in learning]
