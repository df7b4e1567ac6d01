"""Maps of patches."""

import torch

from zoo.domain import ImageDomain
from zoo.networks.image_backbones import Backbone
from zoo.training.modes import evaluating


def grid_of(backbone: Backbone, domain: ImageDomain, model: str) -> tuple[int, int]:
    """Height and width of the map that a backbone makes of a domain's images.

    Raises:
        ValueError: a single cell, of which nothing could be said but that it is the image.
    """
    with torch.no_grad(), evaluating(backbone):
        h, w = backbone(torch.zeros(1, *domain.shape)).shape[2:]
    if h * w == 1:
        raise ValueError(
            f"{model} compares patches, but this backbone's map of inputs {domain.size[0]} x {domain.size[1]} is 1 x 1;"
            " choose a backbone of smaller stride, or larger inputs."
        )
    return int(h), int(w)
