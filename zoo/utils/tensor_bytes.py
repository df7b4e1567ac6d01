"""Tensors with texts about them as the bytes of a safetensors file: the same bytes whenever they are written."""

import json
from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

ALIGNED = 8  # bytes; the tensors begin at a multiple


def tensor_bytes(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """The content of a safetensors file whose header is sorted; the library writes several texts in any order.

    Args:
        tensors: contiguous, on the CPU.
        about: texts by name.
    """
    content = save(dict(tensors), dict(about))
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]
