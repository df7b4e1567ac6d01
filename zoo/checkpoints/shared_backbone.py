"""Frozen backbones that several checkpoints share: one file, identified by the hash of its tensors.

A backbone that no stage of the recipe trains is the same in every model that uses it, and so are its fixed blocks if
only the last blocks learn. A checkpoint may refer to them instead of storing them; the file is
`backbones/<name>-<first digits of the hash>.safetensors` next to the checkpoint. Those of a text encoder are in a
package of weights (`zoo.utils.weight_packages`). What a checkpoint stores itself takes precedence.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.checkpoints.tensor_files import describe, read_tensors
from zoo.core.module import SelfInterpretable
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.networks.image_backbones import Backbone
from zoo.networks.pretrained import text_tensors
from zoo.networks.weights import PREFIX
from zoo.utils.atomic import umask
from zoo.utils.package_files import BACKBONES
from zoo.utils.tensor_hash import fingerprint
from zoo.utils.weight_packages import package_of

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
    trained = {group for stage in model.stages for group in stage.trained}
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, Backbone | HuggingFaceText):
            learns = name.partition(".")[0] in trained
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
        names |= {f"{prefix}.{name}" for name in tensors}
        if entry := known_weights(model.get_submodule(prefix), tensors):
            entries[prefix] = entry
            continue
        file = find_file(tensors, checkpoint.parent / FOLDER) or write(
            tensors, _name_of(model), checkpoint.parent / FOLDER
        )
        entries[prefix] = {"file": file.name, "sha256": fingerprint(read_tensors(file))}
    return Shared(entries, names)


def known_weights(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, str] | None:
    """The entry of a text encoder whose tensors are those of a package of weights; None for others."""
    model = module.spec.get("model") if isinstance(module, HuggingFaceText) else None
    package = package_of(model) if model else None
    known = text_tensors(package) if package else None
    if package is None or known is None:
        return None
    held = {PREFIX + name: tensor for name, tensor in known.items()}
    same = all(name in held and torch.equal(held[name], tensor) for name, tensor in tensors.items())
    return {"weights": package.network, "sha256": package.sha256} if same else None


def in_packages(model: SelfInterpretable) -> bool:
    """Whether there are frozen tensors, and all of them are in packages of weights."""
    found = frozen_tensors(model)
    return bool(found) and all(known_weights(model.get_submodule(prefix), t) for prefix, t in found.items())


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
        keys = set(entry) if isinstance(entry, dict) else set()
        if not isinstance(prefix, str) or keys not in ({"file", "sha256"}, {"weights", "sha256"}):
            raise ValueError(
                f"{checkpoint}: backbone {prefix!r} must have a 'file' or 'weights', and a 'sha256'; got {entry!r}."
            )
        if "weights" in keys:
            found = _read_known(entry["weights"], entry["sha256"], checkpoint)
        else:
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


def _read_known(name: Any, sha256: Any, checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of a text encoder, from its package or the cache of the hub.

    Raises:
        ValueError: this version knows no such weights.
        FileNotFoundError: they are not on this machine.
    """
    package = package_of(str(name))
    if package is None or package.kind != "text" or package.sha256 != sha256:
        raise ValueError(
            f"{checkpoint} uses the weights {str(name)!r:.60} with the SHA-256 {str(sha256)[:DIGITS]}..., which this "
            "version does not know; install the version that wrote the checkpoint."
        )
    if (tensors := text_tensors(package)) is None:
        raise FileNotFoundError(
            f"{checkpoint} uses the weights of {package.network}, which are not on this machine: {package.install} "
            f"({package.megabytes} MB)."
        )
    return {PREFIX + key: tensor for key, tensor in tensors.items()}


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
