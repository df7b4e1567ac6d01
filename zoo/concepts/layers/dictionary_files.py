"""Dictionaries of sparse autoencoders in the layout of SAELens: a folder with cfg.json and sae_weights.safetensors.

The layout is that of SAELens 6 (`SAE.save_model`), also of its older versions where they name the same fields: W_enc
(d, m), W_dec (m, d), b_enc (m), b_dec (d), and `threshold` (m) of JumpReLU.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from zoo.concepts.layers.code_kinds import BatchTopK, JumpReLU, make_dictionary
from zoo.concepts.layers.sparse_codes import CodeOptions, Dictionary
from zoo.utils import atomic
from zoo.utils.paths import check_file

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
KINDS = {"standard": "vanilla", "topk": "topk", "jumprelu": "jumprelu"}  # architecture -> kind
SAME_LENGTH = 1e-3  # largest relative difference of the lengths of atoms that count as equal
LARGEST = 2**33  # bytes


@torch.no_grad()
def read_dictionary(folder: str | Path) -> Dictionary:
    """A dictionary that SAELens wrote, with the same codes and reconstructions.

    Atoms get unit length; what their length was is part of the encoder, so a code is in the unit of the features.

    Args:
        folder: with `cfg.json` and `sae_weights.safetensors`, on this machine.

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: an architecture or an option that has no counterpart, or damaged files.
    """
    folder = Path(folder)
    config = _config(folder)
    tensors = _tensors(folder / WEIGHTS, config)
    lengths = tensors["W_dec"].norm(dim=1)
    options = _options(config, lengths, folder)
    found = make_dictionary(tensors["W_dec"].shape[1], options)
    bias = tensors["b_enc"]
    if not config.get("apply_b_dec_to_input", True):  # here the encoder reads features less b_dec
        bias = bias + tensors["b_dec"] @ tensors["W_enc"]
    found.weight.copy_(F.normalize(tensors["W_dec"], dim=1))
    found.offset.copy_(tensors["b_dec"])
    found.encoder.weight.copy_(lengths[:, None] * tensors["W_enc"].T)
    found.encoder.bias.copy_(lengths * bias)
    if isinstance(found, JumpReLU):
        least = torch.finfo(torch.float32).tiny  # 0 is its threshold where the published one is 0 or below
        found.log_threshold.copy_((lengths * tensors["threshold"]).clamp_min(least).log())
    return found.eval()


def start_from(dictionary: Dictionary) -> None:
    """Copies the weights of the dictionary that the options name as `source`.

    Raises:
        FileNotFoundError, ValueError: see `read_dictionary`; or the file has another kind or other sizes.
    """
    options = dictionary.options
    if options.source is None:
        return
    found = read_dictionary(options.source)
    sizes = [(d.options.kind, *d.weight.shape) for d in (found, dictionary)]
    ours, theirs = options.active, found.options.active
    if sizes[0] != sizes[1] or (options.kind == "topk" and ours != theirs):
        kind, atoms, channels = sizes[0]
        active = f", active: {theirs}" if kind == "topk" else ""
        raise ValueError(
            f"the dictionary {options.source} is for features of {channels} channels, and the backbone has "
            f"{sizes[1][2]}; its options are code: {{kind: {kind}, atoms: {atoms}{active}}}."
        )
    dictionary.load_state_dict(found.state_dict())


@torch.no_grad()
def write_dictionary(dictionary: Dictionary, folder: str | Path) -> None:
    """Writes a dictionary such that SAELens gives the same codes and reconstructions.

    BatchTopK is written as JumpReLU with its fixed threshold, as SAELens does.

    Args:
        dictionary: of a trained `zoo.concepts.SparseCode`, its attribute `code`.
        folder: is made if there is none.

    Raises:
        ValueError: matching pursuit or semi-NMF, which have no encoder.
    """
    kind, atoms, scale = dictionary.options.kind, dictionary.atoms, dictionary.scale
    if kind in ("mp", "snmf"):
        raise ValueError(f"the kind {kind} has no encoder, so its dictionary has no such file; use another kind.")
    # z = scale · select(E (f - b) / scale + e)
    tensors = {
        "W_enc": dictionary.encoder.weight.T,
        "b_enc": scale * dictionary.encoder.bias,
        "W_dec": atoms,
        "b_dec": dictionary.bias,
    }
    more: dict[str, Any] = {}
    if isinstance(dictionary, JumpReLU):
        tensors["threshold"] = scale * dictionary.log_threshold.exp()
    elif isinstance(dictionary, BatchTopK):  # there scores at the threshold do not count
        below = torch.nextafter(scale * dictionary.threshold.clamp_min(0), scale.new_tensor(-torch.inf))
        tensors["threshold"] = below.expand(len(atoms))
    elif kind == "topk":
        more = {"k": dictionary.options.active, "rescale_acts_by_decoder_norm": False}
    names = {kind: architecture for architecture, kind in KINDS.items()} | {"batch_topk": "jumprelu"}
    config = {
        "architecture": names[kind],
        "d_in": atoms.shape[1],
        "d_sae": len(atoms),
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {},
        **more,
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: t.detach().float().cpu().contiguous() for name, t in tensors.items()}, folder / WEIGHTS)
    atomic.write_text(folder / CONFIG, json.dumps(config, indent=1) + "\n")


@torch.no_grad()
def rebase(dictionary: Dictionary, mean: Tensor, scale: Tensor) -> None:
    """Gives a dictionary the mean (d) and scale () of training features, without changing what it codes.

    Args:
        dictionary: any but that of matching pursuit.
        mean: of the features.
        scale: see `Dictionary.centre`.
    """
    bias, factor = dictionary.bias, dictionary.scale / scale.clamp_min(1e-12)
    dictionary.centre(mean, scale)
    dictionary.offset.copy_((bias - mean) / dictionary.scale)
    dictionary.encoder.bias.mul_(factor)
    if isinstance(dictionary, JumpReLU):
        dictionary.log_threshold.add_(factor.log())
    if isinstance(dictionary, BatchTopK):
        dictionary.threshold.mul_(factor)


def _config(folder: Path) -> dict[str, Any]:
    check_file(folder / CONFIG, "config of a dictionary")
    check_file(folder / WEIGHTS, "file of a dictionary")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{folder / CONFIG} is damaged ({error}); get it again.") from error
    if not isinstance(config, dict):
        raise ValueError(f"{folder / CONFIG} holds no mapping; get it again.")
    plain = {"normalize_activations": "none", "reshape_activations": "none"}
    for name, wanted in plain.items():
        if config.get(name, wanted) not in (wanted, None):
            raise ValueError(f"{folder}: {name} is '{config[name]}', and only '{wanted}' can be read.")
    if (kind := config.get("architecture", "standard")) not in KINDS:
        raise ValueError(f"{folder} has the architecture '{kind}'; {', '.join(KINDS)} can be read.")
    return config


def _options(config: dict[str, Any], lengths: Tensor, folder: Path) -> CodeOptions:
    kind = KINDS[config.get("architecture", "standard")]
    if kind != "topk":
        return CodeOptions(kind=kind, atoms=len(lengths), active=1)  # pyright: ignore[reportArgumentType]
    equal = (lengths / lengths.mean() - 1).abs().max() <= SAME_LENGTH
    if not equal and not config.get("rescale_acts_by_decoder_norm", False):
        raise ValueError(
            f"{folder}: the atoms have lengths from {lengths.min():.3g} to {lengths.max():.3g} and are chosen before "
            "they are scaled, so atoms of unit length would choose others. Such a dictionary cannot be read."
        )
    active = config.get("k")
    if not isinstance(active, int) or not 1 <= active <= len(lengths):
        raise ValueError(f"{folder}: k must be a number of atoms from 1 to {len(lengths)}; got {active!r}.")
    return CodeOptions(kind="topk", atoms=len(lengths), active=active)


def _tensors(path: Path, config: dict[str, Any]) -> dict[str, Tensor]:
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size / 2**30:.0f} GiB; at most {LARGEST / 2**30:.0f} are read.")
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not an intact safetensors file ({error}); get it again.") from error
    d, m = config.get("d_in"), config.get("d_sae")
    wanted: dict[str, tuple[Any, ...]] = {"W_enc": (d, m), "W_dec": (m, d), "b_enc": (m,), "b_dec": (d,)}
    if config.get("architecture") == "jumprelu":
        wanted["threshold"] = (m,)
    for name, shape in wanted.items():
        got = tuple(tensors[name].shape) if name in tensors else "nothing"
        if got != shape:
            raise ValueError(f"{path}: '{name}' must have the shape {shape}, as {CONFIG} says; got {got}.")
        if not tensors[name].isfinite().all():
            raise ValueError(f"{path}: '{name}' has NaN or infinite values; get it again.")
    return tensors
