"""Arrays and tokenizers as data of a page."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zoo.domain import CodeDomain

TYPES = {torch.float32: "f4", torch.int32: "i4", torch.int16: "i2", torch.uint8: "u1"}


def packed(value: Any) -> Any:
    """Plain data in which every tensor is replaced by its type and its bytes in base64, row by row.

    int64 becomes int32, bool uint8, and other floating-point types float32.
    """
    if isinstance(value, Tensor):
        if value.dtype not in TYPES:
            value = value.to(torch.uint8 if value.dtype == torch.bool else kind_of(value))
        content = value.detach().cpu().contiguous().numpy()
        array = content.astype(content.dtype.newbyteorder("<"), copy=False)
        return {"type": TYPES[value.dtype], "base64": base64.b64encode(array.tobytes()).decode()}
    if isinstance(value, Mapping):
        return {name: packed(part) for name, part in value.items()}
    return [packed(part) for part in value] if isinstance(value, list | tuple) else value


def kind_of(value: Tensor) -> torch.dtype:
    """The type in which a page stores a tensor of another type."""
    return torch.float32 if value.is_floating_point() else torch.int32


def plain_tokenizer(domain: CodeDomain) -> dict[str, Any] | None:
    """What the page needs to convert prompts to tokens as the domain does; None for other kinds of tokenizers."""
    made = json.loads(domain.tokenizer)
    model, before = made["model"], made.get("pre_tokenizer") or {}
    steps = before["pretokenizers"] if before.get("type") == "Sequence" else [before]
    kinds = [step.get("type") for step in steps]
    pieces = list(domain.pieces.pieces)
    if made.get("normalizer") is not None:
        return None
    if model["type"] == "WordLevel" and kinds == ["WhitespaceSplit"]:
        return {"kind": "words", "pieces": pieces, "unknown": domain.pieces.unknown}
    split = steps[0].get("pattern", {}).get("Regex")
    plain = model["type"] == "BPE" and not any(model.get(name) for name in ("dropout", "ignore_merges"))
    if not plain or kinds != ["Split", "ByteLevel"] or steps[0]["behavior"] != "Isolated" or split is None:
        return None
    if steps[1]["use_regex"] or steps[1]["add_prefix_space"]:
        return None
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    return {"kind": "bpe", "pieces": pieces, "merges": merges, "split": split}
