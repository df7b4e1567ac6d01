"""Writing a model to a checkpoint folder, atomically."""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from zoo.checkpoints import model_card, shared_backbone
from zoo.checkpoints.architecture import check_fit, describe_model
from zoo.checkpoints.config_file import (
    ABOUT,
    CERTIFICATE,
    CIRCUITS,
    CONFIG,
    GOLDEN,
    SHARED,
    STORAGE,
    WEIGHTS,
    backup,
    file_hash,
    format_of,
    read_config,
    recover,
    write_config,
)
from zoo.checkpoints.golden import golden_terms
from zoo.checkpoints.pictures import without_pictures
from zoo.checkpoints.rounding import rounded_model, weights_of
from zoo.checkpoints.tensor_files import described, require_finite
from zoo.core import registry
from zoo.core.certificate import Certificate
from zoo.core.module import SelfInterpretable
from zoo.core.storage import Effect, Storage, check_form
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.utils.atomic import umask
from zoo.utils.small_tensors import FULL, nbytes, store


def save(
    model: SelfInterpretable,
    folder: str | Path,
    *,
    metrics: Mapping[str, float] | None = None,
    golden: Tensor | None = None,
    share_backbone: bool = False,
    pictures: bool = True,
    about: Mapping[str, Any] | None = None,
    certificate: Certificate | None = None,
    storage: str = FULL,
) -> Path:
    """Writes a model to a checkpoint folder. A checkpoint that is there is replaced when the new one is complete.

    Args:
        model: registered and ready to explain.
        folder: destination; must be new, empty, or a checkpoint.
        metrics: kept in the config.
        golden: inputs (N, ...) whose explanations are stored for verification, or images (N, C, H, W) as uint8 pixels,
            which take a quarter of the space, and may be smaller by a whole factor of at most 8; by default two inputs
            of seeded noise.
        share_backbone: store the frozen backbone once next to the checkpoints that use it, see
            `zoo.checkpoints.shared_backbone`.
        pictures: whether to store images of the training set; without them, units show only the names of the images.
        about: content of the model card besides the metrics, see `zoo.checkpoints.model_card`.
        certificate: of this model (with its weights as they are stored), see `zoo.metrics.certificates`.
        storage: "float32", or "float16", "bfloat16" or "int8" for rounded weights, see `zoo.utils.small_tensors`. The
            checkpoint holds the model with these weights: its explanations add up to its own scores.

    Raises:
        ValueError: no such storage; the model has no frozen backbone to share, or the model card is incomplete; or it
            could not be loaded: weights are not finite, or of another type or shape than its arguments give.
        RuntimeError: the model is not ready, see `SelfInterpretable.require_ready`.
        FileExistsError: the folder holds something else than a checkpoint.
        OSError: the files could not be written; a checkpoint that was there is unchanged.
    """
    model = getattr(model, "_orig_mod", model)  # of torch.compile(model)
    check_form(storage)
    model.require_ready()
    entry, arguments = registry.find(registry.name_of(type(model))), arguments_of(model)
    check_loads(model, entry, arguments)
    folder = Path(folder)
    recover(folder)
    require_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new-", dir=folder.parent))
    try:
        config: dict[str, Any] = {"model": entry.name, "arguments": arguments, "metrics": dict(metrics or {})}
        left_out: set[str] = set()
        if share_backbone:
            config[SHARED], left_out = shared_backbone.share(model, folder)
        if certificate is not None:
            config[CERTIFICATE] = certificate.to_dict()
        tensors = _tensors(model, left_out, pictures)
        weights = weights_of(model) - left_out
        stored = store(tensors, weights, storage)
        if storage != FULL:
            config[STORAGE] = Storage(storage, nbytes(store(tensors, (), FULL)), nbytes(stored)).to_dict()
        config = {"format": format_of(config), **config}
        if about is not None:
            config[ABOUT] = {"name": folder.name, **about}
            (fresh / model_card.CARD).write_text(model_card.render(config), encoding="utf-8")
        _write(rounded_model(model, storage, left_out), fresh, config, golden, stored)
        _replace(folder, fresh)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        recover(folder)
        kept = "; the previous checkpoint is unchanged" if folder.exists() else ""
        raise OSError(
            f"could not write the checkpoint {folder} ({error}){kept}. Free some disk space or choose another folder."
        ) from error
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return folder


def attach_certificate(folder: Path, certificate: Certificate) -> None:
    """Adds a certificate to a checkpoint, or replaces it; a model that is saved anew has none.

    Raises:
        ValueError: the checkpoint is damaged.
        OSError: the files could not be written; the checkpoint is unchanged.
    """
    _attach(folder, {CERTIFICATE: certificate.to_dict()})


def attach_effect(folder: Path, effect: Effect) -> None:
    """Adds to a checkpoint what its rounded weights change, or replaces it.

    Raises:
        ValueError: the checkpoint is damaged, or its weights are not rounded.
        OSError: the files could not be written; the checkpoint is unchanged.
    """
    if (plain := read_config(folder).get(STORAGE)) is None:
        raise ValueError(f"the weights of {folder} are stored in float32, which changes nothing.")
    _attach(folder, {STORAGE: replace(Storage.from_dict(plain), effect=effect).to_dict()})


def _attach(folder: Path, changes: Mapping[str, Any]) -> None:
    """Writes a checkpoint anew with changes of its config."""
    recover(folder)
    config = {**read_config(folder), **changes}
    config["format"] = format_of(config)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new-", dir=folder.parent))
    try:
        shutil.copytree(folder, fresh, dirs_exist_ok=True)
        write_config(fresh, {**config, "sha256": {name: config["sha256"][name] for name in (WEIGHTS, GOLDEN)}})
        if (fresh / model_card.CARD).is_file():
            (fresh / model_card.CARD).write_text(model_card.render(read_config(fresh)), encoding="utf-8")
        _replace(folder, fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        recover(folder)


def require_replaceable(folder: Path) -> None:
    """Refuses a folder that holds something else than a checkpoint.

    Raises:
        FileExistsError: lists what it holds.
    """
    held = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    file = folder.exists() and not folder.is_dir()  # or a device, such as /dev/null
    if CIRCUITS in held and CONFIG in held:
        raise FileExistsError(
            f"{folder} holds circuits of the model in it, which are not those of another model; move "
            f"{folder / CIRCUITS} away first, or choose another folder."
        )
    if file or (held and set(held) - {model_card.CARD} != {CONFIG, WEIGHTS, GOLDEN}):
        raise FileExistsError(
            f"{folder} is not a checkpoint ({f'it holds {held[:4]}' if held else 'it is a file'}), so it is not "
            "replaced; choose another folder."
        )


def check_loads(model: SelfInterpretable, entry: registry.Entry, arguments: Mapping[str, Any]) -> None:
    """Refuses a model that `zoo.checkpoints.load` would refuse.

    Raises:
        ValueError: weights are not finite, or of another type or shape than the arguments give.
    """
    name, state = type(model).__name__, model.state_dict()
    require_finite(state, name)
    plan = describe_model(entry, arguments, name, len(state))
    for key, needed in plan.state_dict().items():
        if key in state and state[key].dtype != needed.dtype:
            raise ValueError(
                f"{name} has {state[key].dtype} in '{key}', and a checkpoint stores {needed.dtype}; save a copy of it "
                "that was not converted, or convert it back with model.float()."
            )
    check_fit(plan, described(state), Path(name))


def arguments_of(model: SelfInterpretable) -> dict[str, Any]:
    """The constructor's arguments, without what is of this machine alone.

    A text encoder of the hub is given by its config, so that it is built offline, and a teacher by the name of its run,
    without the folder.
    """
    found, arguments = next((m.spec for m in model.modules() if isinstance(m, HuggingFaceText)), None), model.arguments
    recipe = arguments.get("recipe")
    if isinstance(recipe, Mapping) and isinstance(teacher := recipe.get("teacher"), Mapping):
        name = re.split(r"[\\/]", str(teacher["run"]).rstrip("\\/"))[-1]
        arguments = {**arguments, "recipe": {**recipe, "teacher": {**teacher, "run": name}}}
    if found is None:
        return arguments
    given = arguments["backbone"]
    return {**arguments, "backbone": {**(given if isinstance(given, Mapping) else {}), **found}}


def _tensors(model: SelfInterpretable, left_out: set[str], pictures: bool) -> dict[str, Tensor]:
    """The tensors of a model that its checkpoint stores, on the CPU."""
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items() if name not in left_out
    }
    return state if pictures else without_pictures(state)


def _write(
    model: SelfInterpretable, folder: Path, config: dict[str, Any], golden: Tensor | None, stored: dict[str, Tensor]
) -> None:
    """Writes the files of a checkpoint; `stored` are the tensors of the model."""
    inputs = model.domain.example(2, torch.Generator().manual_seed(0)) if golden is None else golden.detach().cpu()
    save_file(stored, folder / WEIGHTS)
    save_file({"inputs": inputs.contiguous(), **golden_terms(model, inputs)}, folder / GOLDEN)
    write_config(folder, {**config, "sha256": {name: file_hash(folder / name) for name in (WEIGHTS, GOLDEN)}})
    for path in folder.iterdir():  # flushed to the disk before the rename makes it the checkpoint
        path.chmod(0o666 & ~umask())
        with path.open("rb") as written:
            os.fsync(written.fileno())
    folder.chmod(0o777 & ~umask())


def _replace(folder: Path, fresh: Path) -> None:
    old = backup(folder)
    shutil.rmtree(old, ignore_errors=True)  # remains if a replacement was killed after its second rename
    if folder.exists():
        os.rename(folder, old)
    os.rename(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)
