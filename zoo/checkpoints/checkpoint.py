"""A checkpoint is a folder: config.yaml, model.safetensors, golden.safetensors. Written atomically, read strictly.

It may have a model card besides, README.md, see `zoo.checkpoints.model_card`.

config.yaml names the model by its registry key and holds its constructor's arguments, what was measured, and the hashes
of the other files and of itself, see `zoo.checkpoints.config_file`. golden.safetensors holds inputs and the explanation that the model
gave for them when it was saved; `verify` compares. Nothing here imports what a file names, and nothing is unpickled.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.checkpoints import model_card, shared_backbone
from zoo.checkpoints.config_file import (
    ABOUT,
    CONFIG,
    FORMATS,
    GOLDEN,
    SHARED,
    WEIGHTS,
    backup,
    file_hash,
    read_config,
    recover,
    write_config,
)
from zoo.core import registry
from zoo.core.module import SelfInterpretable
from zoo.domain import ImageDomain
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.utils import sparse_tensors

PICTURES = ("picture", "pictures")  # buffers that hold training images, or parts of them


def save(
    model: SelfInterpretable,
    folder: str | Path,
    *,
    metrics: Mapping[str, float] | None = None,
    golden: Tensor | None = None,
    share_backbone: bool = False,
    pictures: bool = True,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a model to a checkpoint folder; an older checkpoint there stays whole until the new one is complete.

    Args:
        model: registered, and ready to explain.
        folder: where to; replaced if it is a checkpoint already.
        metrics: what was measured, kept in the config.
        golden: inputs (N, ...) to compare explanations on, or images (N, C, H, W) as uint8 pixels, which take a quarter
            of the space; by default two of seeded noise.
        share_backbone: name the frozen backbone by its hash and keep it beside the checkpoint, see `zoo.checkpoints.shared_backbone`.
        pictures: False leaves out the pictures of training images, where their licence forbids to pass them on; units
            then tell the names of the images, without showing them.
        about: what the model card tells besides the metrics, see `zoo.checkpoints.model_card`.

    Raises:
        ValueError: there is no frozen backbone to share, or the model card is not complete.
        RuntimeError: the model is not ready, see `SelfInterpretable.require_ready`.
        FileExistsError: the folder holds something that is no checkpoint.
        OSError: it could not be written (the disk is full, say); the older checkpoint is still there.
    """
    model.require_ready()
    folder = Path(folder)
    recover(folder)
    held = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    if folder.is_file() or (held and set(held) - {model_card.CARD} != {CONFIG, WEIGHTS, GOLDEN}):
        raise FileExistsError(
            f"{folder} is no checkpoint to replace (it {f'holds {held[:4]}' if held else 'is a file'}); "
            "choose another folder."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new-", dir=folder.parent))
    try:
        shared = shared_backbone.share(model, folder) if share_backbone else {}
        config = {"metrics": dict(metrics or {})}
        if about is not None:
            config[ABOUT] = {"name": folder.name, **about}
            told = {"model": registry.name_of(type(model)), **config}
            (fresh / model_card.CARD).write_text(model_card.render(told), encoding="utf-8")
        _write(model, fresh, config, golden, shared, pictures)
        _replace(folder, fresh)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        recover(folder)
        kept = "; the checkpoint that was there is untouched" if folder.exists() else ""
        raise OSError(
            f"could not write the checkpoint {folder} ({error}){kept}. Free some space or choose another folder."
        ) from error
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return folder


def load(folder: str | Path) -> SelfInterpretable:
    """Reads a checkpoint folder into a model in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: the folder or one of its files is missing; the message says what is there.
        ValueError: the config is not readable, names no registered model, or does not fit the weights; or a file is
            not what its hash in the config says.
    """
    folder = Path(folder)
    recover(folder)
    config = read_config(folder)
    for name in (WEIGHTS, GOLDEN):
        expected = config["sha256"][name]
        if (found := file_hash(folder / name)) != expected:
            raise ValueError(
                f"{folder / name} is damaged or was changed: its SHA-256 is {found[:12]}..., the config says "
                f"{str(expected)[:12]}.... Get the checkpoint again."
            )
    entry = registry.find(config["model"])
    try:
        arguments = entry.cls.upgrade_arguments(config["arguments"])
        offline = entry.cls.offline_arguments(arguments)
        model = entry.cls(**offline)
    except (TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError) as error:  # values of another kind
        raise ValueError(
            f"{folder / CONFIG} has arguments that {entry.name} does not take ({type(error).__name__}: {error})."
        ) from error
    # What the weights came from is still told, so that a copy of the checkpoint has the same config.
    model.hparams.update({name: value for name, value in arguments.items() if value != offline[name]})
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    own = sparse_tensors.unpack(read_tensors(folder / WEIGHTS), shapes, folder / WEIGHTS)
    for name, tensor in own.items():
        if name in shapes and is_picture(name, tensor) and not tensor.numel():  # left out when it was saved
            prefix, _, buffer = name.rpartition(".")
            model.get_submodule(prefix).register_buffer(buffer, tensor)
    _fill(model, own | shared_backbone.restore(config.get(SHARED, {}), folder), folder / WEIGHTS)
    return model.eval()


def verify(folder: str | Path, tolerance: float = 1e-4) -> float:
    """Loads a checkpoint, explains its golden inputs again and compares; returns the largest difference.

    Raises:
        ValueError: a score, contribution or activation differs by more than `tolerance`, absolutely and relatively; or
            the model card says something else than the config.
        ArithmeticError: contributions and bias do not add up to the scores.
    """
    folder = Path(folder)
    _compare_card(folder)
    model, golden = load(folder), read_tensors(folder / GOLDEN)
    if "inputs" not in golden:
        raise ValueError(f"{folder / GOLDEN} has no 'inputs' (found: {sorted(golden)}); save the checkpoint again.")
    terms = _golden_terms(model, golden["inputs"])
    worst = 0.0
    if extra := sorted(golden.keys() - terms.keys() - {"inputs"}):
        raise ValueError(f"{folder / GOLDEN} has {extra}, which the model does not give; save the checkpoint again.")
    for name, now in terms.items():
        if name not in golden or golden[name].shape != now.shape:
            raise ValueError(
                f"{folder / GOLDEN} has no '{name}' of shape {tuple(now.shape)}; save the checkpoint again."
            )
        if not torch.allclose(now.double(), golden[name].double(), rtol=tolerance, atol=tolerance):
            raise ValueError(
                f"{folder} explains its golden inputs differently than when it was saved: '{name}' is off by "
                f"{(now - golden[name]).abs().max():.3g}."
            )
        worst = max(worst, float((now - golden[name]).abs().max()))
    return worst


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ValueError: it is none (a pickle, say), or it is damaged.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no intact safetensors file ({error}). Pickled weights are never loaded; save with zoo.save()."
        ) from error


def is_picture(name: str, tensor: Tensor) -> bool:
    """Whether a tensor of a state holds pictures of training images: uint8 (P, C, h, w)."""
    return name.rpartition(".")[2] in PICTURES and tensor.dtype == torch.uint8 and tensor.ndim == 4


def _write(
    model: SelfInterpretable,
    folder: Path,
    told: dict[str, Any],
    golden: Tensor | None,
    shared: Mapping[str, Mapping[str, str]],
    pictures: bool,
) -> None:
    noise = torch.Generator().manual_seed(0)
    inputs = model.domain.example(2, noise) if golden is None else golden.detach().cpu()
    terms = _golden_terms(model, inputs)
    state = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if not name.startswith(tuple(f"{prefix}." for prefix in shared))
    }
    if not pictures:
        state |= {n: t.new_zeros((*t.shape[:2], 0, 0)) for n, t in state.items() if is_picture(n, t)}
    save_file(sparse_tensors.pack(state), folder / WEIGHTS)
    save_file({"inputs": inputs.contiguous(), **terms}, folder / GOLDEN)
    config = {
        "format": FORMATS[-1],
        "model": registry.name_of(type(model)),
        "arguments": _arguments(model),
        **told,
        "sha256": {name: file_hash(folder / name) for name in (WEIGHTS, GOLDEN)},
    } | ({SHARED: shared} if shared else {})
    write_config(folder, config)
    for path in folder.iterdir():  # on the disk before the rename makes it the checkpoint
        path.chmod(0o644)
        with path.open("rb") as written:
            os.fsync(written.fileno())
    folder.chmod(0o755)


def _arguments(model: SelfInterpretable) -> dict[str, Any]:
    """The constructor's arguments; a text encoder of the hub is told by its config, from which it is built offline."""
    found = next((m.spec for m in model.modules() if isinstance(m, HuggingFaceText)), None)
    if found is None:
        return dict(model.hparams)
    given = model.hparams["backbone"]
    return {**model.hparams, "backbone": {**(given if isinstance(given, Mapping) else {}), **found}}


def _compare_card(folder: Path) -> None:
    config, path = read_config(folder), folder / model_card.CARD
    if ABOUT not in config:
        return
    if not path.is_file() or path.read_text(encoding="utf-8") != model_card.render(config):
        raise ValueError(f"{path} is not what {CONFIG} says was measured; save the checkpoint again.")


def _golden_terms(model: SelfInterpretable, inputs: Tensor) -> dict[str, Tensor]:
    if inputs.dtype == torch.uint8 and isinstance(model.domain, ImageDomain):
        inputs = model.domain.normalise(inputs)
    explanation = model.explain(inputs.to(model.device))
    if explanation.contributions is not None:
        explanation.check()
    named = {n: getattr(explanation, n) for n in ("scores", "contributions", "bias", "activation")}
    # Copies, because a readout may hand its inputs through, and safetensors refuses shared memory.
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in named.items() if tensor is not None}


def _fill(model: SelfInterpretable, tensors: dict[str, Tensor], path: Path) -> None:
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


def _replace(folder: Path, fresh: Path) -> None:
    old = backup(folder)
    shutil.rmtree(old, ignore_errors=True)  # left where a replacement was killed after its second rename
    if folder.exists():
        os.rename(folder, old)
    os.rename(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)
