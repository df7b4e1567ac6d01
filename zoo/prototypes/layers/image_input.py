"""What prototype models check of their inputs: images in classes, and backbones with maps of several cells."""

from collections.abc import Mapping
from typing import Any

import torch

from zoo.domain import Domain, ImageDomain
from zoo.networks.image_backbones import Backbone
from zoo.training.modes import evaluating


def require_images(domain: Mapping[str, Any] | Domain, model: str) -> ImageDomain:
    """The domain, if it is one of images in two or more classes.

    Raises:
        ValueError: another modality or task, or a single class.
    """
    domain = Domain.from_dict(domain)
    if not isinstance(domain, ImageDomain) or len(domain.classes) < 2 or domain.task != "classification":
        raise ValueError(
            f"{model} classifies images into two or more classes; got {len(domain.classes)} of "
            f"modality '{domain.modality}' for a {domain.task}."
        )
    return domain


def require_grid(backbone: Backbone, domain: ImageDomain, model: str) -> tuple[int, int]:
    """Height and width of the map that a backbone makes of a domain's images.

    Raises:
        ValueError: the map is a single cell, so there are no patches to compare.
    """
    with torch.no_grad(), evaluating(backbone):
        h, w = backbone(torch.zeros(1, *domain.shape)).shape[2:]
    if h * w == 1:
        raise ValueError(
            f"{model} compares patches, but this backbone's map of inputs {domain.size[0]} x {domain.size[1]} is 1 x 1;"
            " choose a backbone of smaller stride, or larger inputs."
        )
    return int(h), int(w)
