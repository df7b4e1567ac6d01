"""Concept scores without annotation: how well phrases fit images, by an encoder of both into one space (CLIP).

Radford et al.: "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv 2103.00020.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as pictures

from zoo.domain import Domain, ImageDomain
from zoo.utils.errors import did_you_mean
from zoo.utils.optional import need

BRINGS_WEIGHTS = ("hf-hub:", "local-dir:")  # names of models of open_clip that say where the weights lie
PHRASES = 256  # that are encoded at a time
INTERPOLATION = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}


class OpenCLIP:
    """An image-text encoder of the library `open_clip`, for the inputs of a domain; a `TextImageEncoder`.

    Inputs are the domain's normalised images: their normalisation is undone, they are resized as the encoder resizes
    pictures (by most: the shorter side, then the centre), and normalised with the encoder's own statistics.

    Args:
        domain: of the images, with 1 or 3 channels.
        model: of `open_clip.list_models()`, such as "ViT-B-32", or "hf-hub:NAME" or "local-dir:FOLDER".
        pretrained: which weights: a tag of `open_clip.list_pretrained()`, such as "laion2b_s34b_b79k", downloaded at
            first use, or a file. A model of the hub or of a folder brings its own.
        prompt: what a phrase is written into, in place of "{}".
        device: to compute on.

    Raises:
        ImportError: the extra `clip` is not installed.
        ValueError: other inputs than images of 1 or 3 channels, no such model or weights, or a prompt without "{}".
    """

    def __init__(
        self,
        domain: Mapping[str, Any] | Domain,
        model: str = "ViT-B-32",
        pretrained: str | None = None,
        prompt: str = "{}",
        device: str | torch.device = "cpu",
    ) -> None:
        domain = Domain.from_dict(domain)
        if not isinstance(domain, ImageDomain) or domain.channels not in (1, 3):
            channels = f" of {domain.channels} channels" if isinstance(domain, ImageDomain) else ""
            raise ValueError(f"OpenCLIP reads images of 1 or 3 channels; got a domain of {domain.noun}{channels}.")
        if prompt.count("{}") != 1:
            raise ValueError(f"prompt must have one {{}}, where the phrase goes; got '{prompt}'.")
        library = need("open_clip", "clip")
        weights = _weights(library, model, pretrained)
        self.network = library.create_model(model, pretrained=weights, device=device).eval().requires_grad_(False)
        self.tokenizer = library.get_tokenizer(model)
        self.prompt, self.device = prompt, torch.device(device)
        about = library.get_model_preprocess_cfg(self.network)
        size = about["size"]
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.how = about.get("resize_mode", "shortest")
        self.interpolation = INTERPOLATION[about.get("interpolation", "bicubic")]
        theirs, ours = (about["mean"], about["std"]), (domain.mean, domain.std)
        self.mean, self.std = (torch.tensor(v, device=device).view(-1, 1, 1) for v in theirs)
        self.own_mean, self.own_std = (torch.tensor(v, device=device).view(-1, 1, 1) for v in ours)

    @torch.no_grad()
    def encode_images(self, x: Tensor) -> Tensor:
        """Inputs (B, C, H, W) of the domain as vectors (B, e) of unit length."""
        return F.normalize(self.network.encode_image(self.prepare(x)).float(), dim=1)

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> Tensor:
        """Phrases as vectors (M, e) of unit length."""
        tokens = self.tokenizer([self.prompt.replace("{}", text) for text in texts]).to(self.device)
        return F.normalize(torch.cat([self.network.encode_text(t).float() for t in tokens.split(PHRASES)]), dim=1)

    def prepare(self, x: Tensor) -> Tensor:
        """Inputs (B, C, H, W) of the domain as the encoder wants images (B, 3, h, w)."""
        picture = (x.to(self.device).float() * self.own_std + self.own_mean).clamp(0, 1)
        picture = picture.expand(-1, 3, -1, -1)
        if tuple(picture.shape[-2:]) != self.size:
            picture = self._fit(picture).clamp(0, 1)  # bicubic overshoots
        return (picture - self.mean) / self.std

    def _fit(self, picture: Tensor) -> Tensor:
        """As open_clip fits pictures: "shortest" side and the centre, "longest" side and a border, or "squash"."""
        ratios = [wanted / found for wanted, found in zip(self.size, picture.shape[-2:], strict=True)]
        if self.how != "squash":
            ratios = [max(ratios) if self.how == "shortest" else min(ratios)] * 2
        scaled = [max(round(n * r), 1) for n, r in zip(picture.shape[-2:], ratios, strict=True)]
        fitted = F.interpolate(picture, scaled, mode=self.interpolation, antialias=True)
        return pictures.center_crop(fitted, list(self.size))


def _weights(library: Any, model: str, pretrained: str | None) -> str | None:
    """What open_clip is to load: a tag, a file, or nothing for a model that brings its weights."""
    if model.startswith(BRINGS_WEIGHTS):
        if pretrained:
            raise ValueError(f"'{model}' brings its own weights; leave out pretrained, '{pretrained}'.")
        return None
    if model not in (known := library.list_models()):
        raise ValueError(f"open_clip has no model '{model}'; {did_you_mean(model, known)}")
    tags = library.list_pretrained_tags_by_model(model)
    file = os.path.expandvars(Path(pretrained or "").expanduser())
    if pretrained and pretrained.lower().replace("-", "_") in tags:
        return pretrained
    if pretrained and Path(file).is_file():
        return file
    raise ValueError(
        f"open_clip has no weights '{pretrained}' for '{model}', and they are no file; {did_you_mean(pretrained, tags)}"
    )


def read_phrases(path: str | Path) -> list[str]:
    """Names of concepts: the lines of a text file that are not empty.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no UTF-8 text, names none, or names one twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of concepts at {path}; write one phrase a line.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text ({error}); convert it.") from error
    first: dict[str, int] = {}
    for number, phrase in enumerate(map(str.strip, lines), 1):
        if phrase in first:
            raise ValueError(f"{path}, line {number}: '{phrase}' is in line {first[phrase]} already; leave out one.")
        if phrase:
            first[phrase] = number
    if not first:
        raise ValueError(f"{path} names no concept; write one phrase a line.")
    return list(first)
