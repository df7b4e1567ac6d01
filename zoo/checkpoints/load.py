"""Reading a checkpoint into a model, strictly: hashes, names, shapes and types must all match."""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.checkpoints import shared_backbone
from zoo.checkpoints.config_file import CONFIG, GOLDEN, SHARED, WEIGHTS, file_hash, read_config, recover
from zoo.checkpoints.pictures import is_picture
from zoo.checkpoints.tensor_files import read_tensors
from zoo.core import registry
from zoo.core.module import SelfInterpretable
from zoo.utils import sparse_tensors


def load(folder: str | Path) -> SelfInterpretable:
    """Reads a checkpoint folder into a model in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: the folder or one of its files is missing; the message lists what is there.
        ValueError: the config is not readable, names no registered model, or does not fit the weights; or a file does
            not have the hash that the config gives.
    """
    folder = Path(folder)
    recover(folder)
    config = read_config(folder)
    check_hashes(folder, config["sha256"])
    model = build(config, folder)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    stored = rename_tensors(read_tensors(folder / WEIGHTS), model.former_names, shapes)
    own = sparse_tensors.unpack(stored, shapes, folder / WEIGHTS)
    for name, tensor in own.items():
        if name in shapes and is_picture(name, tensor) and not tensor.numel():  # left out when it was saved
            prefix, _, buffer = name.rpartition(".")
            model.get_submodule(prefix).register_buffer(buffer, tensor)
    fill(model, own | shared_backbone.restore(config.get(SHARED, {}), folder), folder / WEIGHTS)
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


def build(config: dict[str, Any], folder: Path) -> SelfInterpretable:
    """The model of a config, with its initial weights.

    Raises:
        ValueError: there is no such model, or it does not accept the arguments.
    """
    entry = registry.find(config["model"])
    try:
        arguments = entry.cls.upgrade_arguments(config["arguments"])
        offline = entry.cls.offline_arguments(arguments)
        model = entry.cls(**offline)
    except (TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError) as error:  # values of another type
        raise ValueError(
            f"{folder / CONFIG} has arguments that {entry.name} does not accept ({type(error).__name__}: {error})."
        ) from error
    # Where the weights came from is kept, so that a copy of the checkpoint has the same config.
    model.hparams.update({name: value for name, value in arguments.items() if value != offline[name]})
    return model


def rename_tensors(
    tensors: Mapping[str, Tensor], former_names: Mapping[str, str], known: Container[str]
) -> dict[str, Tensor]:
    """Gives stored tensors the names that they have in the present model.

    Args:
        tensors: tensors, or their parts (see `zoo.utils.sparse_tensors`), by name.
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
    """Copies tensors into a model that has exactly these names, shapes and types.

    Raises:
        ValueError: names the tensors that differ.
    """
    needed = model.state_dict()
    missing, extra = sorted(needed.keys() - tensors.keys()), sorted(tensors.keys() - needed.keys())
    if missing or extra:
        raise ValueError(
            f"{path} does not fit the model of its config: missing {missing[:3] or 'nothing'}, unknown "
            f"{extra[:3] or 'nothing'}."
        )
    for name, tensor in needed.items():
        found = tensors[name]
        if found.shape != tensor.shape or found.dtype != tensor.dtype:
            raise ValueError(
                f"{path}: '{name}' is {found.dtype} {tuple(found.shape)}; the model of the config needs "
                f"{tensor.dtype} {tuple(tensor.shape)}."
            )
    model.load_state_dict(tensors)
