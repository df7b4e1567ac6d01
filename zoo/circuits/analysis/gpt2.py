"""GPT-2 of Hugging Face as a graph of the writers and readers of its residual stream."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.domain.subwords import Subwords, read_tokenizer
from zoo.networks.hf_config import read_config


@dataclass(frozen=True)
class PathRun:
    """A pass along some of the paths.

    Attributes:
        written: output (B, T, d) of each source.
        logits: (B, V), after the last token.
    """

    written: list[Tensor]
    logits: Tensor


class Gpt2Graph:
    """The paths of a GPT-2, from each source to each later destination.

    Sources are the embedding, heads and MLPs; destinations are the queries, keys and values of each head, MLPs and the
    logits. The biases of attention's writes belong to no head and are always included. Its weights are not changed.

    Args:
        model: a `GPT2LMHeadModel`.

    Attributes:
        sources: names of the S sources.
        destinations: names of the D destinations.
        exist: (S, D) bool, the existing paths.
        leads_to: index of the source that each destination belongs to; None for the logits.

    Raises:
        ValueError: another network, or a variant of GPT-2 that is computed in another way.
    """

    def __init__(self, model: Any) -> None:
        config = model.config
        if config.model_type != "gpt2" or not hasattr(model, "lm_head"):
            raise ValueError(f"expected a GPT2LMHeadModel; got {type(model).__name__} ({config.model_type}).")
        if config.scale_attn_by_inverse_layer_idx or not config.scale_attn_weights:
            raise ValueError("scores of attention are scaled by layer, or not at all, which is not supported.")
        self.model, self.heads, self.layers = model.eval(), int(config.n_head), int(config.n_layer)
        self.sources, self.destinations, after = ["embedding"], [], []
        self.leads_to: list[int | None] = []
        for layer in range(self.layers):
            heads = [f"layer {layer} head {h}" for h in range(self.heads)]
            self.destinations += [f"{head} {kind}" for kind in ("query", "key", "value") for head in heads]
            after += [len(self.sources)] * (3 * self.heads)
            self.leads_to += [len(self.sources) + h for h in range(self.heads)] * 3 + [len(self.sources) + self.heads]
            self.sources += heads
            self.destinations.append(f"layer {layer} MLP")
            after.append(len(self.sources))
            self.sources.append(f"layer {layer} MLP")
        self.destinations.append("logits")
        self.leads_to.append(None)
        after.append(len(self.sources))
        self.exist = torch.arange(len(self.sources))[:, None] < torch.tensor(after)

    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings (B, T, d) with those of the positions."""
        body = self.model.transformer
        return body.wte(tokens) + body.wpe(torch.arange(tokens.shape[1], device=tokens.device))

    def run(
        self,
        embedded: Tensor,
        last: Tensor,
        kept: Tensor | None = None,
        others: Sequence[Tensor] = (),
        probes: list[Tensor] | None = None,
    ) -> PathRun:
        """Runs the network along the kept paths.

        Args:
            embedded: (B, T, d).
            last: (B,), positions whose next token is predicted.
            kept: (S, D) bool; by default all paths.
            others: value (B, T, d) that removed paths carry, for each source.
            probes: if given, zeros that are added to what the readers of a sublayer read, (B, readers, T, d), are
                appended to it, for the gradients.
        """
        written, stream, reader = [embedded], embedded, 0

        def reads(count: int) -> Tensor:
            """What the next readers see, (B, count, T, d)."""
            nonlocal reader
            seen = stream[:, None].expand(-1, count, -1, -1)
            if kept is not None:
                removed = (self.exist & ~kept)[: len(written), reader : reader + count].to(stream)
                if bool(removed.any()):
                    change = torch.stack([o - w for o, w in zip(others, written, strict=False)])
                    seen = seen + torch.einsum("sr,sbtd->brtd", removed, change)
            if probes is not None:
                probes.append(torch.zeros_like(seen, requires_grad=True))
                seen = seen + probes[-1]
            reader += count
            return seen

        for block in self.model.transformer.h:
            outputs = self._attend(block, reads(3 * self.heads))
            written += list(outputs.unbind(1))
            stream = stream + outputs.sum(1) + block.attn.c_proj.bias
            (seen,) = reads(1).unbind(1)
            written.append(block.mlp(block.ln_2(seen)))
            stream = stream + written[-1]
        (seen,) = reads(1).unbind(1)
        final = seen[torch.arange(len(last), device=last.device), last]
        return PathRun(written, self.model.lm_head(self.model.transformer.ln_f(final)))

    def _attend(self, block: Any, seen: Tensor) -> Tensor:
        """What each head writes, (B, H, T, d), for what queries, keys and values read, (B, 3 H, T, d)."""
        weight = block.attn.c_attn.weight.unflatten(1, (3 * self.heads, -1))  # (d, 3 H, e)
        bias = block.attn.c_attn.bias.unflatten(0, (3 * self.heads, -1))
        parts = torch.einsum("brtd,dre->brte", block.ln_1(seen), weight) + bias[:, None]
        query, key, value = parts.chunk(3, 1)
        gathered = F.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=1 / math.sqrt(query.shape[-1])
        )
        output = block.attn.c_proj.weight.unflatten(0, (self.heads, -1))
        return torch.einsum("bhte,hed->bhtd", gathered, output)


def load_gpt2(folder: str | Path) -> tuple[Gpt2Graph, Subwords]:
    """Loads a GPT-2 and its tokenizer from a folder with config.json, model.safetensors and tokenizer.json.

    Raises:
        FileNotFoundError: no such folder, or a file is missing.
        ValueError: another network, or a tokenizer that has more pieces than the network.
    """
    folder = Path(folder)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no {folder / name}; give a folder of a GPT-2 with its tokenizer.")
    config = read_config(str(folder))
    if config.model_type != "gpt2":
        raise ValueError(f"{folder} holds a '{config.model_type}'; paths are known of 'gpt2'.")
    library = import_module("transformers")
    model = library.GPT2LMHeadModel.from_pretrained(
        str(folder), config=config, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
    )
    subwords = Subwords(read_tokenizer(folder))
    if len(subwords.pieces) > config.vocab_size:
        raise ValueError(
            f"the tokenizer has {len(subwords.pieces)} pieces, the network knows {config.vocab_size}; give the "
            "tokenizer of the network itself."
        )
    return Gpt2Graph(model.requires_grad_(False)), subwords
