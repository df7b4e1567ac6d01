"""Frozen backbones that several checkpoints share: one file, identified by the hash of its tensors.

A backbone that no stage of the recipe trains is the same in every model that uses it. A checkpoint may refer to it
instead of storing it; the file is `backbones/<name>-<first digits of the hash>.safetensors` next to the checkpoint.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from zoo.checkpoints.tensor_files import read_tensors
from zoo.core.module import SelfInterpretable
from zoo.networks.image_backbones import Backbone
from zoo.utils.atomic import umask
from zoo.utils.package_files import BACKBONES
from zoo.utils.tensor_hash import fingerprint

FOLDER = BACKBONES
DIGITS = 12  # of the hash in a file name


def frozen_backbones(model: SelfInterpretable) -> dict[str, Backbone]:
    """The backbones that no stage trains, by module name."""
    if any("backbone" in stage.trained for stage in model.stages):
        return {}
    return {name: module for name, module in model.named_modules() if isinstance(module, Backbone)}


def share(model: SelfInterpretable, checkpoint: Path) -> dict[str, dict[str, str]]:
    """Writes the frozen backbones of a model next to a checkpoint, unless the files exist.

    Returns:
        the "file" and the "sha256" of its tensors, by module name.

    Raises:
        ValueError: the model has no backbone, or its recipe trains it.
    """
    found = frozen_backbones(model)
    if not found:
        raise ValueError(
            f"share_backbone requires a frozen backbone; {type(model).__name__} has none, or its recipe trains it. "
            "Save it without share_backbone."
        )
    shared = {}
    for prefix, backbone in found.items():
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
        digest = fingerprint(tensors)
        file = checkpoint.parent / FOLDER / f"{_name_of(model)}-{digest[:DIGITS]}.safetensors"
        if not file.exists():
            _write(tensors, file)
        shared[prefix] = {"file": file.name, "sha256": digest}
    return shared


def restore(shared: Any, checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of the shared backbones of a checkpoint, under their names in the model.

    Args:
        shared: what `share` returned, as read from a config.
        checkpoint: the folder.

    Raises:
        ValueError: `shared` has another form, or a file does not have the expected hash.
        FileNotFoundError: a file is missing.
    """
    if not isinstance(shared, dict):
        raise ValueError(f"{checkpoint}: 'backbones' must be a mapping; got {type(shared).__name__}.")
    tensors: dict[str, Tensor] = {}
    for prefix, entry in shared.items():
        if not isinstance(prefix, str) or not isinstance(entry, dict) or set(entry) != {"file", "sha256"}:
            raise ValueError(f"{checkpoint}: backbone {prefix!r} must have a 'file' and a 'sha256'; got {entry!r}.")
        found = _read(entry["file"], entry["sha256"], checkpoint)
        tensors |= {f"{prefix}.{name}": tensor for name, tensor in found.items()}
    return tensors


def _read(name: Any, sha256: Any, checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of one file, whose hash must be as expected."""
    if not isinstance(name, str) or name != Path(name).name or not name.endswith(".safetensors"):
        raise ValueError(f"{checkpoint}: backbone {name!r} must be the name of a file in {FOLDER}/, without a path.")
    path = checkpoint.resolve().parent / FOLDER / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{checkpoint} uses a shared backbone, expected at {path}. Copy the folder {FOLDER} together with the "
            "checkpoint."
        )
    tensors = read_tensors(path)
    if (digest := fingerprint(tensors)) != sha256:
        raise ValueError(
            f"{path} is not the backbone of {checkpoint}: its tensors have the SHA-256 {digest[:DIGITS]}..., "
            f"expected {str(sha256)[:DIGITS]}.... Get it again."
        )
    return tensors


def _name_of(model: SelfInterpretable) -> str:
    """The name of the backbone in the model's arguments, made safe for a file name."""
    given = model.hparams.get("backbone", "backbone")
    name = given.get("name", "backbone") if isinstance(given, Mapping) else given
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in str(name))


def _write(tensors: dict[str, Tensor], file: Path) -> None:
    """Writes a file atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    os.close(handle)
    try:
        save_file(tensors, fresh)
        Path(fresh).chmod(0o666 & ~umask())
        os.replace(fresh, file)
    finally:
        Path(fresh).unlink(missing_ok=True)
