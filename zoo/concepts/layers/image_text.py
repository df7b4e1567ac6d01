"""Concept scores without annotation: the similarity of phrases and images in the joint space of an encoder (CLIP).

Radford et al.: "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv 2103.00020.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as pictures

from zoo.domain import Domain, ImageDomain
from zoo.training.projection_set import ProjectionSet
from zoo.utils.errors import did_you_mean
from zoo.utils.optional import need

BRINGS_WEIGHTS = ("hf-hub:", "local-dir:")  # prefixes of open_clip models whose name says where the weights are
PHRASES = 256  # batch size of the text encoder
INTERPOLATION = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}


class TextImageEncoder(Protocol):
    """An encoder of images and texts into one space, such as `OpenCLIP`."""

    def encode_images(self, x: Tensor) -> Tensor:
        """Maps inputs (B, ...) to vectors (B, e) of unit length."""
        ...

    def encode_texts(self, texts: list[str]) -> Tensor:
        """Maps phrases to vectors (M, e) of unit length."""
        ...


@torch.no_grad()
def score_concepts(projection_set: ProjectionSet, encoder: TextImageEncoder, concepts: list[str]) -> Tensor:
    """Similarity (N, M) of each image of the projection set and each phrase: the product of their vectors."""
    texts = encoder.encode_texts(concepts)
    return torch.cat([encoder.encode_images(batch["input"]) @ texts.T for batch in projection_set])


class OpenCLIP:
    """An image-text encoder of the library `open_clip` for the inputs of a domain; a `TextImageEncoder`.

    Inputs are normalised images of the domain. Their normalisation is undone; they are resized as the encoder expects
    (usually the shorter side, then a centre crop) and normalised with the encoder's statistics.

    Args:
        domain: of the images, with 1 or 3 channels.
        model: a name of `open_clip.list_models()`, such as "ViT-B-32", or "hf-hub:NAME" or "local-dir:FOLDER".
        pretrained: a tag of `open_clip.list_pretrained()`, such as "laion2b_s34b_b79k", whose weights are downloaded at
            first use, or a file. Leave it out for models of the hub or of a folder.
        prompt: text around a phrase, which replaces "{}".
        device: device to compute on.

    Raises:
        ImportError: the extra `clip` is not installed.
        ValueError: inputs other than images of 1 or 3 channels, unknown model or weights, or a prompt without "{}".
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
            raise ValueError(f"prompt must contain {{}} once, in place of the phrase; got '{prompt}'.")
        library = need("open_clip", "clip")
        weights = _weights(library, model, pretrained)
        self.network = library.create_model(model, pretrained=weights, device=device).eval().requires_grad_(False)
        self.tokenizer = library.get_tokenizer(model)
        self.prompt, self.device = prompt, torch.device(device)
        about = library.get_model_preprocess_cfg(self.network)
        size = about["size"]
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.resize_mode = about.get("resize_mode", "shortest")
        self.interpolation = INTERPOLATION[about.get("interpolation", "bicubic")]
        theirs, ours = (about["mean"], about["std"]), (domain.mean, domain.std)
        self.mean, self.std = (torch.tensor(v, device=device).view(-1, 1, 1) for v in theirs)
        self.own_mean, self.own_std = (torch.tensor(v, device=device).view(-1, 1, 1) for v in ours)

    @torch.no_grad()
    def encode_images(self, x: Tensor) -> Tensor:
        """Maps inputs (B, C, H, W) of the domain to vectors (B, e) of unit length."""
        return F.normalize(self.network.encode_image(self.prepare(x)).float(), dim=1)

    @torch.no_grad()
    def encode_texts(self, texts: list[str]) -> Tensor:
        """Maps phrases to vectors (M, e) of unit length."""
        tokens = self.tokenizer([self.prompt.replace("{}", text) for text in texts]).to(self.device)
        return F.normalize(torch.cat([self.network.encode_text(t).float() for t in tokens.split(PHRASES)]), dim=1)

    def prepare(self, x: Tensor) -> Tensor:
        """Converts inputs (B, C, H, W) of the domain to the images (B, 3, h, w) that the encoder expects."""
        picture = (x.to(self.device).float() * self.own_std + self.own_mean).clamp(0, 1)
        picture = picture.expand(-1, 3, -1, -1)
        if tuple(picture.shape[-2:]) != self.size:
            picture = self._fit(picture).clamp(0, 1)  # bicubic overshoots
        return (picture - self.mean) / self.std

    def _fit(self, picture: Tensor) -> Tensor:
        """Resizes as open_clip does: "shortest" side and a centre crop, "longest" side and a border, or "squash"."""
        ratios = [wanted / found for wanted, found in zip(self.size, picture.shape[-2:], strict=True)]
        if self.resize_mode != "squash":
            ratios = [max(ratios) if self.resize_mode == "shortest" else min(ratios)] * 2
        scaled = [max(round(n * r), 1) for n, r in zip(picture.shape[-2:], ratios, strict=True)]
        fitted = F.interpolate(picture, scaled, mode=self.interpolation, antialias=True)
        return pictures.center_crop(fitted, list(self.size))


def _weights(library: Any, model: str, pretrained: str | None) -> str | None:
    """The weights for open_clip to load: a tag, a file, or None for a model that brings its weights."""
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
        f"open_clip has no weights '{pretrained}' for '{model}', and there is no such file; "
        f"{did_you_mean(pretrained, tags)}"
    )


def read_phrases(path: str | Path) -> list[str]:
    """Reads names of concepts from a text file, one per line; empty lines are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not UTF-8 text, is empty, or has a duplicate.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of concepts at {path}; write one phrase per line.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}); convert it.") from error
    first: dict[str, int] = {}
    for number, phrase in enumerate(map(str.strip, lines), 1):
        if phrase in first:
            raise ValueError(f"{path}, line {number}: '{phrase}' duplicates line {first[phrase]}; remove one.")
        if phrase:
            first[phrase] = number
    if not first:
        raise ValueError(f"{path} is empty; write one phrase per line.")
    return list(first)
