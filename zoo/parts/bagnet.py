"""BagNet: a classifier reads every small patch of the image by itself; the score is the mean of their logits.

Brendel, Bethge: "Approximating CNNs with Bag-of-local-Features Models Works Surprisingly Well on ImageNet", ICLR 2019,
arXiv 1904.00760.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.core.unit_logits import UnitLogits
from zoo.domain import Domain, ImageDomain
from zoo.networks.bagnet_trunk import bagnet_layers
from zoo.networks.image_backbones import create_backbone
from zoo.networks.receptive_field import receptive_field
from zoo.networks.target_units import in_target_units
from zoo.training.batch import Batch
from zoo.training.modes import evaluating
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss
from zoo.utils.checks import check_above

RECIPE = Recipe(
    stages=(Stage("train", epochs=30, train=("backbone", "head")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)
GATED = replace(RECIPE, stages=(Stage("train", epochs=30, train=("backbone", "head", "gate")),))
CONVNET = {"name": "convnet", "widths": [8, 8], "strided": True}  # of the small model that tests build


@register(
    "bagnet",
    modality="image",
    paper="Brendel and Bethge, ICLR 2019",
    small=Small(
        {"widths": [8, 16], "depths": [1, 2], "strides": [2, 1], "wide": 1},
        variants={
            "corner": Small({"shortcut": "corner"}),
            "gated": Small({"trunk": CONVNET, "gate": True, "focus": 0.2}),
        },
    ),
)
class BagNet(UnitLogits):
    """A residual network whose cells each see a small patch: score = bias + mean over the patches of W z.

        z = backbone(x)              (B, D, h, w)    a cell depends on a patch of `receptive_field` pixels only
        logits_i = W z_i / (h w)     (B, h w, C)

    Every patch is a unit of activation 1, whose logit is its contribution; pixels outside of the patch do not change
    it. With `gate`, the activation is a_i = relu(v z_i + c), exactly 0 for patches that show nothing, and the
    contribution a_i logits_i; no published form has this. The backbone is a ResNet whose 3 x 3 convolutions are 1 x 1,
    except in the first block of the first `wide` stages; convolutions have no padding. With `trunk` it is any chain
    of convolutions: a black box that ends in average pooling and a linear layer is a bag of the patches that the cells
    of its map see, with the same scores.

    Differs from the published code: widths, depths and strides are arguments (there: those of ResNet-50,
    `widths: [256, 512, 1024, 2048]`, `depths: [3, 4, 6, 3]`, `strides: [2, 2, 2, 1]`, with `wide` 4, 3 or 2 for patches
    of 33, 17 or 9 pixels); the bottleneck is a quarter of the width in both. The shortcut of a 3 x 3 convolution takes
    the middle of the three cells (there: the first, `shortcut: corner`). `zoo.parts.from_bagnet` builds this model from
    published weights.

    Args:
        domain: what inputs and outputs mean (`data.domain`): images.
        widths: channels of each stage.
        depths: blocks of each stage.
        strides: stride of each stage's first block.
        wide: number of stages, from the first, whose first block has a 3 x 3 convolution.
        shortcut: which of the cells that a 3 x 3 convolution reads the shortcut adds: "centre", or "corner", the top
            left one, as published.
        gate: learn which patches count.
        trunk: in place of the residual network of the arguments above, see
            `zoo.networks.image_backbones.create_backbone`; its receptive field must be known.
        focus: the supports fall off from the centre of the patch like a normal distribution whose deviation is this
            share of its side, as the influence of pixels does; by default they are 1 in the whole patch.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, head and, if there is one, gate.

    Attributes:
        receptive_field: side of a patch in pixels.
        jump: pixels between neighbouring patches.
        grid: rows and columns of patches (h, w).

    Raises:
        ValueError: inputs other than images, stages that do not fit each other, an image smaller than a patch, or a
            backbone whose receptive field is not known.
    """

    reference = "mean"
    default_recipe = RECIPE
    field: Tensor  # (h w, H', W') in [0, 1], see `_fields`

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        widths: Sequence[int] = (256, 512, 1024, 2048),
        depths: Sequence[int] = (3, 4, 6, 3),
        strides: Sequence[int] = (2, 2, 2, 1),
        wide: int = 4,
        shortcut: Literal["centre", "corner"] = "centre",
        gate: bool = False,
        trunk: dict[str, Any] | None = None,
        focus: float | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe, default_recipe=GATED if gate else RECIPE)
        self.keep_arguments(locals())
        check_above(0, focus=1.0 if focus is None else focus)
        if not isinstance(self.domain, ImageDomain):
            raise ValueError(f"BagNet reads images; this domain is of modality '{self.domain.modality}'.")
        if trunk is None:
            network = bagnet_layers(self.domain.channels, widths, depths, strides, wide, shortcut)
            channels, field = widths[-1], receptive_field(network)
        else:
            network = create_backbone(trunk, self.domain.channels)
            channels, field = network.channels, network.receptive_field
        if field is None:
            raise ValueError(f"BagNet needs a trunk whose receptive field is known, such as a convnet; got {trunk}.")
        self.receptive_field, self.jump, self.start = field.size, field.jump, field.start
        if self.receptive_field > min(self.domain.size):
            raise ValueError(
                f"each patch has {self.receptive_field} pixels, more than the images, {self.domain.size[0]} x "
                f"{self.domain.size[1]}; lower wide or the strides."
            )
        self.backbone = network
        self.head = in_target_units(nn.Linear(channels, len(self.domain.classes)), self.domain)
        self.gate = nn.Linear(channels, 1) if gate else None
        if self.gate is not None:  # open at first
            nn.init.zeros_(self.gate.weight)
            nn.init.ones_(self.gate.bias)
        self.grid, self.focus = self._grid(), focus
        self.space = "logit" if self.domain.task == "classification" else "value"
        self.register_buffer("field", self._fields(), persistent=False)

    def _grid(self) -> tuple[int, int]:
        with torch.no_grad(), evaluating(self.backbone):
            h, w = self.backbone(torch.zeros(1, *self.domain.shape)).shape[2:]
        return int(h), int(w)

    def _fields(self) -> Tensor:
        """(h w, H', W') the patch of each cell, on a grid with one point for every `jump` pixels; 0 outside of it."""
        lines = []
        for cells, side in zip(self.grid, self.domain.shape[1:], strict=True):
            place = torch.arange(side) - (torch.arange(cells)[:, None] * self.jump + self.start)
            inside = ((place >= 0) & (place < self.receptive_field)).float()
            if self.focus is not None:
                far = (place - (self.receptive_field - 1) / 2) / (self.focus * self.receptive_field)
                inside = inside * torch.exp(-far.square() / 2)
            pooled = F.avg_pool1d(inside, self.jump, ceil_mode=True)  # of the pixels that exist
            lines.append(pooled / pooled.amax(1, keepdim=True) if self.focus is not None else (pooled > 0).float())
        return (lines[0][:, None, :, None] * lines[1][None, :, None, :]).flatten(0, 1)

    def evidence(self, x: Tensor) -> Evidence:
        z = self.backbone(x).flatten(2).mT
        logits = self.head(z) - self.head.bias  # (B, h w, C)
        logits = logits / logits.shape[1]
        support = None if self.training else self.field.expand(x.shape[0], -1, -1, -1)
        bias = self.head.bias.expand(x.shape[0], -1)
        activation = torch.ones_like(logits[..., 0]) if self.gate is None else torch.relu(self.gate(z))[..., 0]
        return Evidence(activation, support, {"unit_logits": logits, "bias": bias})

    def units(self) -> tuple[Unit, ...]:
        return tuple(
            Unit(f"patch at {row * self.jump}, {column * self.jump}", "patch")
            for row in range(self.grid[0])
            for column in range(self.grid[1])
        )

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights"))}
