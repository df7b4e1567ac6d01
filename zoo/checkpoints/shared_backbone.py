"""Frozen backbones that several checkpoints share: one file, identified by the hash of its tensors.

A backbone that no stage of the recipe trains is the same in every model that uses it, and so are its fixed blocks if
only the last blocks learn. A checkpoint may refer to them instead of storing them; the file is
`backbones/<name>-<first digits of the hash>.safetensors` next to the checkpoint. What a checkpoint stores itself takes
precedence.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from zoo.checkpoints.tensor_files import describe, read_tensors
from zoo.core.module import SelfInterpretable
from zoo.networks.image_backbones import Backbone
from zoo.utils.atomic import umask
from zoo.utils.package_files import BACKBONES
from zoo.utils.tensor_hash import fingerprint

FOLDER = BACKBONES
DIGITS = 12  # of the hash in a file name


class Shared(NamedTuple):
    """What checkpoints share of a model.

    Attributes:
        entries: the "file" and the "sha256" of its tensors, by module name, for the config.
        names: of the model's tensors that the checkpoint does not store.
    """

    entries: dict[str, dict[str, str]]
    names: set[str]


def frozen_tensors(model: SelfInterpretable) -> dict[str, dict[str, Tensor]]:
    """The tensors that no stage trains of each backbone, by module name.

    These are all tensors of a backbone, or those of its fixed blocks if the others learn (`tune`).
    """
    learns = any("backbone" in stage.trained for stage in model.stages)
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, Backbone):
            kept = module.fixed_names if learns else set(module.state_dict())
            found[name] = {key: t.detach().cpu().contiguous() for key, t in module.state_dict().items() if key in kept}
    return {name: tensors for name, tensors in found.items() if tensors}


def share(model: SelfInterpretable, checkpoint: Path) -> Shared:
    """Writes the frozen tensors of the backbones of a model next to a checkpoint.

    A file that is there is used if it has these tensors, also among others or in half precision.

    Raises:
        ValueError: the model has no backbone, or its recipe trains all of it.
    """
    found = frozen_tensors(model)
    if not found:
        raise ValueError(
            f"share_backbone requires a frozen backbone; {type(model).__name__} has none, or its recipe trains it. "
            "Save it without share_backbone."
        )
    entries, names = {}, set()
    for prefix, tensors in found.items():
        file = find_file(tensors, checkpoint.parent / FOLDER) or write(
            tensors, _name_of(model), checkpoint.parent / FOLDER
        )
        entries[prefix] = {"file": file.name, "sha256": fingerprint(read_tensors(file))}
        names |= {f"{prefix}.{name}" for name in tensors}
    return Shared(entries, names)


def find_file(tensors: Mapping[str, Tensor], folder: Path) -> Path | None:
    """The file in a folder of shared backbones that has some tensors; None if there is none."""
    for file in sorted(folder.glob("*.safetensors")):
        if not all(name in (held := describe(file)) and held[name].shape == t.shape for name, t in tensors.items()):
            continue
        stored = as_stored(read_tensors(file))
        if all(torch.equal(stored[name], tensor) for name, tensor in tensors.items()):
            return file
    return None


def write(tensors: dict[str, Tensor], name: str, folder: Path) -> Path:
    """Writes tensors to the file `<name>-<digits of the hash>.safetensors` in a folder, unless it exists."""
    file = folder / f"{safe(name)}-{fingerprint(tensors)[:DIGITS]}.safetensors"
    if not file.exists():
        _write(tensors, file)
    return file


def as_stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a file as a model has them: those in half precision become float32."""
    return {name: tensor.float() if tensor.dtype == torch.half else tensor for name, tensor in tensors.items()}


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
        tensors |= {f"{prefix}.{name}": tensor for name, tensor in as_stored(found).items()}
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
    """The name of the backbone in the model's arguments."""
    given = model.hparams.get("backbone", "backbone")
    name = given.get("name", "backbone") if isinstance(given, Mapping) else given
    return str(name)


def safe(name: str) -> str:
    """A name made safe for a file name."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)


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
