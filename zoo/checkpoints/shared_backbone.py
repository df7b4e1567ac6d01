"""Frozen public backbones: one file for all checkpoints beside it, found by the hash of its tensors.

A backbone that no stage of a recipe trains is the same in every model that has it. A checkpoint may name it instead of
holding it; it lies in the folder `backbones` next to the checkpoint, as `<name>-<start of the hash>.safetensors`.
"""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.core.module import SelfInterpretable
from zoo.networks.image_backbones import Backbone

FOLDER = "backbones"
DIGITS = 12  # of the hash, in the name of a file


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values; the same however a file arranges them."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def frozen_backbones(model: SelfInterpretable) -> dict[str, Backbone]:
    """The backbones that no stage trains, by the name of their module."""
    if any("backbone" in stage.trained for stage in model.stages):
        return {}
    return {name: module for name, module in model.named_modules() if isinstance(module, Backbone)}


def share(model: SelfInterpretable, checkpoint: Path) -> dict[str, dict[str, str]]:
    """Puts the frozen backbones of a model beside a checkpoint, where they are not there yet.

    Returns:
        by module, the "file" and the "sha256" of its tensors.

    Raises:
        ValueError: the recipe trains the backbone, or the model has none.
    """
    found = frozen_backbones(model)
    if not found:
        raise ValueError(
            "share_backbone: this model has no backbone, or its recipe trains it, so that no other has the same; "
            "save it without."
        )
    told = {}
    for prefix, backbone in found.items():
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
        digest = fingerprint(tensors)
        file = checkpoint.parent / FOLDER / f"{_name_of(model)}-{digest[:DIGITS]}.safetensors"
        if not file.exists():
            _write(tensors, file)
        told[prefix] = {"file": file.name, "sha256": digest}
    return told


def restore(told: Any, checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of the shared backbones of a checkpoint, under their names in the model.

    Args:
        told: what `share` returned, as a config says it.
        checkpoint: the folder.

    Raises:
        ValueError: `told` is something else, or a file does not hold the tensors of its hash.
        FileNotFoundError: a file is not there.
    """
    if not isinstance(told, dict):
        raise ValueError(f"{checkpoint}: 'backbones' must be a mapping; got {type(told).__name__}.")
    tensors: dict[str, Tensor] = {}
    for prefix, entry in told.items():
        if not isinstance(prefix, str) or not isinstance(entry, dict) or set(entry) != {"file", "sha256"}:
            raise ValueError(f"{checkpoint}: backbone {prefix!r} must have a 'file' and a 'sha256'; got {entry!r}.")
        name = entry["file"]
        if not isinstance(name, str) or name != Path(name).name or not name.endswith(".safetensors"):
            raise ValueError(
                f"{checkpoint}: backbone {name!r} must be the name of a file in {FOLDER}/, without a path."
            )
        path = checkpoint.resolve().parent / FOLDER / name
        if not path.is_file():
            raise FileNotFoundError(
                f"{checkpoint} shares a frozen backbone, which should be at {path}. Copy the folder {FOLDER} along "
                "with the checkpoint."
            )
        try:
            found = load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is no intact safetensors file ({error}). Get it again.") from error
        if (digest := fingerprint(found)) != entry["sha256"]:
            raise ValueError(
                f"{path} is not the backbone of {checkpoint}: its tensors have the SHA-256 {digest[:DIGITS]}..., "
                f"expected {str(entry['sha256'])[:DIGITS]}.... Get it again."
            )
        tensors |= {f"{prefix}.{name}": tensor for name, tensor in found.items()}
    return tensors


def _name_of(model: SelfInterpretable) -> str:
    """What the recipe calls its backbone."""
    given = model.hparams.get("backbone", "backbone")
    name = given.get("name", "backbone") if isinstance(given, Mapping) else given
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in str(name))


def _write(tensors: dict[str, Tensor], file: Path) -> None:
    """A file that is there whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    os.close(handle)
    try:
        save_file(tensors, fresh)
        Path(fresh).chmod(0o644)
        os.replace(fresh, file)
    finally:
        Path(fresh).unlink(missing_ok=True)
