"""Reading a checkpoint into a model, strictly: hashes, names, shapes and types must all match."""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from zoo.checkpoints import shared_backbone
from zoo.checkpoints.architecture import build, check_fit, describe_model, read_domain
from zoo.checkpoints.config_file import CONFIG, GOLDEN, SHARED, STORAGE, WEIGHTS, file_hash, read_config, recover
from zoo.checkpoints.tensor_files import describe, described, read_tensors, require_finite
from zoo.core import registry
from zoo.core.module import SelfInterpretable
from zoo.utils import sparse_tensors
from zoo.utils.small_tensors import as_needed, is_rounded, restore

T = TypeVar("T")


def load(folder: str | Path) -> SelfInterpretable:
    """Reads a checkpoint folder into a model in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: the folder or one of its files is missing; the message lists what is there.
        ValueError: the config is not readable, names no registered model, or does not fit the weights; a file does not
            have the hash that the config gives; or weights are NaN or infinite.
        ImportError: the model needs an optional dependency.
    """
    folder = Path(folder)
    recover(folder)
    config = read_config(folder)
    check_hashes(folder, config["sha256"])
    where, path = str(folder / CONFIG), folder / WEIGHTS
    try:
        entry = registry.find(config["model"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    shared = shared_backbone.restore(config.get(SHARED, {}), folder)
    stored = describe(path)
    domain = read_domain(config["arguments"], describe(folder / GOLDEN), folder)
    arguments = {**config["arguments"], "domain": domain}  # read once, as tokenizers take time
    plan = describe_model(entry, arguments, where, len(stored) + len(shared))
    needed, former = plan.state_dict(), plan.former_names
    shared = {name: tensor for name, tensor in shared.items() if name in needed}  # packages hold more, such as a pooler
    types = {name: tensor.dtype for name, tensor in needed.items()} if STORAGE in config else {}
    found = {
        name: one._replace(dtype=types[name]) if is_rounded(one.dtype, types.get(name)) else one
        for name, one in rename_tensors(stored, former, needed).items()
    }
    check_fit(plan, described(shared) | found, path)
    model = build(entry, arguments, where)
    shapes = {name: tensor.shape for name, tensor in needed.items()}
    own = sparse_tensors.unpack(restore(rename_tensors(read_tensors(path), former, needed)), shapes, path)
    fill(model, shared | as_needed(own, types), path)
    return model.eval()


def check_hashes(folder: Path, expected: dict[str, Any]) -> None:
    """Compares the files of a checkpoint with the SHA-256 in its config.

    Raises:
        ValueError: a file differs.
    """
    for name in (WEIGHTS, GOLDEN):
        if (found := file_hash(folder / name)) != expected[name]:
            raise ValueError(
                f"{folder / name} is damaged or was changed: its SHA-256 is {found[:12]}..., expected "
                f"{str(expected[name])[:12]}.... Get the checkpoint again."
            )


def rename_tensors(tensors: Mapping[str, T], former_names: Mapping[str, str], known: Container[str]) -> dict[str, T]:
    """Gives stored tensors the names that they have in the present model.

    Args:
        tensors: tensors, their parts (see `zoo.utils.sparse_tensors`), or what describes them, by name.
        former_names: earlier name of a tensor or module -> present name, see `SelfInterpretable.former_names`.
        known: names of the model's tensors, which are left unchanged.
    """

    def present(key: str) -> str:
        name, mark, part = key.partition(sparse_tensors.MARK)
        for old, new in former_names.items():
            if name not in known and (name == old or name.startswith(f"{old}.")):
                return f"{new}{name[len(old) :]}{mark}{part}"
        return key

    return {present(key): tensor for key, tensor in tensors.items()}


def fill(model: SelfInterpretable, tensors: dict[str, Tensor], path: Path) -> None:
    """Copies the tensors of a file into a model that they fit, see `zoo.checkpoints.architecture.check_fit`.

    Raises:
        ValueError: a tensor is NaN or infinite somewhere.
    """
    require_finite(tensors, str(path))
    for name, tensor in model.state_dict().items():
        if tensors[name].shape != tensor.shape:  # pictures that were left out when the model was saved
            prefix, _, buffer = name.rpartition(".")
            model.get_submodule(prefix).register_buffer(buffer, tensors[name])
    model.load_state_dict(tensors)
