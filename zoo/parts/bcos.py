"""B-cos network: a network that is one linear map for each input, and shows the map.

Böhle, Fritz, Schiele: "B-cos Networks: Alignment is All We Need for Interpretability", CVPR 2022, arXiv 2205.10268;
Böhle, Singh, Fritz, Schiele: "B-cos Alignment for Inherently Interpretable CNNs and Vision Transformers", TPAMI 2024,
arXiv 2306.10898; B-cosification: see `zoo.networks.bcosify`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, ImageDomain
from zoo.networks.bcos_layers import bcos_layers, with_inverse
from zoo.networks.bcos_transformer import Transformer, bcos_transformer
from zoo.networks.bcosify import bcosify, copy_bcosified, head_of
from zoo.networks.dynamic_linear import HeldConv
from zoo.networks.dynamic_network import Chain
from zoo.networks.image_backbones import create_backbone
from zoo.parts.layers.pixel_patches import PixelPatches
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import one_against_others, task_loss
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.options import parse_options

RECIPE = Recipe(
    stages=(Stage("train", epochs=30, train=("backbone", "head"), cosine=True),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)
BIASES, POSITION = "biases of the layers", "position"  # units of what does not read the pixels
WEIGHTS, PIXELS = "weights", "pixels"  # details
CONVNET = {"name": "convnet", "widths": [6, 8], "pool": [0]}  # of the small models that tests build
TINY = {"width": 8, "depth": 1, "heads": 2, "hidden": 12, "side": 2}


@register(
    "bcos",
    modality="image",
    paper="Böhle et al., CVPR 2022 (B-cos networks)",
    small=Small(
        {"widths": [6, 8], "patch": 4, "backbone": None},
        variants={
            "maxout": Small({"max_out": 2, "b": 1.5, "loss": "cross_entropy"}),
            "converted": Small({"backbone": CONVNET, "b": 1.5}),
            "biases": Small({"backbone": CONVNET, "b": 1.0, "biases": True}),
            "transformer": Small({"backbone": None, "transformer": TINY}),
        },
    ),
)
class Bcos(SelfInterpretable):
    """A network of B-cos layers: score = bias + Σ over the pixels of W(x) [x, 1 - x], exactly.

        u = [x, 1 - x]                               (B, 2 C', H, W)    x in [0, 1]: dark pixels count as well
        layer: y = |cos(u, w)|^(B - 1) ŵ u           followed by a batch norm that only divides
        score_c = b_c + mean over the cells of B-cos layer_c(z)             b_c = -log(C - 1)

    All that is not linear are the factors |cos|^(B - 1). With the factors of an input held, the network is one matrix
    W(x), so that a score is a sum over pixels, see `zoo.networks.dynamic_linear`. As a large score needs weights
    that align with their input, W(x) comes to look like what it responds to. Units are patches of `patch` x `patch`
    pixels, and, where biases are kept, one unit for all biases. Readout and removal of units hold the factors.

    With `transformer`, the network is a B-cos vision transformer, see `zoo.networks.bcos_transformer`: attention
    and the deviations of layer norms are held as well, and the last B-cos layer reads the normed mean of the tokens.
    What the codes of positions, which are added to the tokens, give to a score does not come from any pixel: it is the
    unit "position".

    Explanations have the details "weights" (B, K, 2 C' patch²), W(x) of the explained class in each patch, channel by
    channel, and "pixels" (B, K, patch²), the contribution of each pixel to its score; pages draw both.

    With `backbone`, the network is an ordinary one that was B-cosified: weights are not normed, activations stay, and u
    is [z, -z] with z the image as that network reads it. A teacher of the recipe (`start: true`) gives the weights.
    With `b: 1` and `biases: true`, scores are those of the teacher and contributions are gradient times input.

    Differs from the published code: contributions come from an explicit transpose of the held layers, for any number of
    rows at once (there: one row by autograd, with the factors detached). CNNs from scratch are chains of 3 x 3
    convolutions. What position codes add to a score is a unit (there: not part of the map). Of B-cosified ResNets the
    max pooling stays (there: average pooling). No adaptive gradient clipping.

    Args:
        domain: what inputs and outputs mean (`data.domain`): images.
        widths: channels of each convolution, of a network from scratch.
        strides: of each convolution.
        b: the exponent B, 2 as published; 1 is an ordinary linear map.
        max_out: units of which each output is the maximum, from scratch; 2 in the paper of 2022, 1 in that of 2024.
        patch: side of the patches in pixels.
        transformer: in place of `widths`, the sizes of a transformer from scratch, see
            `zoo.networks.bcos_transformer.Transformer`.
        backbone: in place of `widths`, a network to B-cosify, see `zoo.networks.image_backbones.create_backbone` and
            `zoo.networks.bcosify.bcosify`.
        biases: of a B-cosified network, keep biases and the means of batch norms.
        loss: "binary", as published: each class against all others, with 1 / C as target of the others; or
            "cross_entropy".
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, head.

    Raises:
        ValueError: inputs other than images, sizes out of range, both `transformer` and `backbone`, or a backbone that
            cannot be B-cosified.
    """

    default_recipe = RECIPE
    tasks = ("classification",)
    bias: Tensor  # (C,)
    places: Tensor  # (K, h, w) in {0, 1}, the patch of each unit

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        widths: Sequence[int] = (32, 64, 128),
        strides: Sequence[int] | None = None,
        b: float = 2.0,
        max_out: int = 1,
        patch: int = 4,
        transformer: Transformer | None = None,
        backbone: str | dict[str, Any] | None = None,
        biases: bool = False,
        loss: Literal["binary", "cross_entropy"] = "binary",
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_at_least(1, patch=patch, b=b, max_out=max_out)
        check_choice(("binary", "cross_entropy"), loss=loss)
        if not isinstance(self.domain, ImageDomain):
            raise ValueError(f"Bcos reads images; this domain is of modality '{self.domain.modality}'.")
        classes, channels = len(self.domain.classes), self.domain.channels
        self.loss, self.converted, self.biases = loss, backbone is not None, biases
        if backbone is None:
            if biases:
                raise ValueError("a B-cos network from scratch has no biases; biases are those of a backbone.")
            if transformer is None:
                self.backbone = bcos_layers(2 * channels, widths, strides or [2] * len(widths), b, max_out)
                width = widths[-1]
            else:
                sizes = parse_options(Transformer, transformer, "transformer")
                self.backbone = bcos_transformer(2 * channels, self.domain.size, b, max_out, sizes)
                width = sizes.width
            self.head = HeldConv(nn.Conv2d(width, classes, 1).weight.detach(), b)
        elif transformer is not None:
            raise ValueError("transformer (from scratch) and backbone (B-cosified) exclude each other; remove one.")
        else:
            network = create_backbone(backbone, channels)
            self.backbone = bcosify(network.network, b, biases)
            self.head = head_of(nn.Linear(network.channels, classes).weight, b)
        self.head.measure(self.backbone.measure(self.domain.size))
        self.register_buffer("bias", torch.full((classes,), -math.log(max(classes - 1, 1))))
        self.patches = PixelPatches(self.domain.size, patch)
        rest = BIASES if biases else POSITION if transformer is not None else None
        self._units = (*self.patches.units(), *([Unit(rest, "residual")] if rest else []))
        self.has_rest = rest is not None
        places = F.pad(self.patches.places(), (0, 0, 0, 0, 0, int(self.has_rest)))
        self.register_buffer("places", places, persistent=False)

    def encoded(self, x: Tensor) -> Tensor:
        """What the first layer reads (B, 2 C', H, W): an image and its inverse."""
        assert isinstance(self.domain, ImageDomain)
        return with_inverse(x, None if self.converted else self.domain)

    def evidence(self, x: Tensor) -> Evidence:
        u = self.encoded(x)
        z, kept = self.backbone.hold(u)
        cells, last = self.head.hold(z)
        activation = u.new_ones(x.shape[0], len(self._units))
        if self.training:  # the same scores, without a second pass
            return Evidence(activation, None, {"scores": cells.mean((2, 3)) + self.bias})
        state = {"encoded": u} | {f"kept {i}": tensor for i, tensor in enumerate([*kept, *last])}
        return Evidence(activation, self.places.expand(x.shape[0], -1, -1, -1), state)

    def _held(self, evidence: Evidence) -> tuple[Chain, list[Tensor]]:
        """The complete network and what it holds for these inputs."""
        count = sum(name.startswith("kept ") for name in evidence.state)
        return Chain([self.backbone, self.head]), [evidence.state[f"kept {i}"] for i in range(count)]

    def readout(self, evidence: Evidence) -> Tensor:
        if "scores" in evidence.state:
            return evidence.state["scores"]
        network, kept = self._held(evidence)
        present, one = evidence.activation, evidence.activation.new_ones(evidence.activation.shape[0])
        if self.has_rest:
            present, one = present[:, :-1], present[:, -1]
        mask = self.patches.spread(present)
        cells = network.linear(evidence.state["encoded"] * mask, one[:, None, None, None], kept)
        return cells.mean((2, 3)) + self.bias

    def dynamic_weights(self, evidence: Evidence, towards: Tensor) -> tuple[Tensor, Tensor]:
        """W(x) of a combination of the scores, and the part of the biases or position codes.

        Args:
            evidence: of B inputs.
            towards: (B, C), the factor of each score.

        Returns:
            (B, 2 C', H, W), and (B,).
        """
        network, kept = self._held(evidence)
        height, width = self.head.size
        g = (towards / (height * width))[:, :, None, None].expand(-1, -1, height, width)
        weights, shift = network.transpose(g, kept)
        return weights, weights.new_zeros(towards.shape[0]) if shift is None else shift

    def _contributions(self, evidence: Evidence, towards: Tensor) -> tuple[Tensor, Tensor]:
        weights, shift = self.dynamic_weights(evidence, towards)
        each = (weights * evidence.state["encoded"]).sum(1, keepdim=True)
        sums = self.patches.sums(each)
        if self.has_rest:
            sums = torch.cat([sums, shift[:, None]], 1)
        return evidence.activation * sums, towards @ self.bias

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        return self._contributions(evidence, F.one_hot(target, len(self.bias)).to(self.bias))

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        classes = self.bias.shape[0]
        return self._contributions(evidence, self.bias.new_full((evidence.activation.shape[0], classes), 1 / classes))

    def slopes(self, evidence: Evidence) -> Tensor:
        present = replace(evidence, activation=torch.ones_like(evidence.activation))
        towards = torch.eye(len(self.bias), device=self.bias.device)
        each = [self._contributions(present, one.expand(evidence.activation.shape[0], -1))[0] for one in towards]
        return torch.stack(each, 2)

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """Of the explained class in each patch: W(x), "weights" (B, K, 2 C' patch²), and "pixels" (B, K, patch²).

        Both are 0 for the last unit, if it is no patch, and outside of the image.
        """
        if "encoded" not in evidence.state or torch.compiler.is_exporting():
            return {}
        weights = self.dynamic_weights(evidence, F.one_hot(target, len(self.bias)).to(self.bias))[0]
        pixels = (weights * evidence.state["encoded"]).sum(1, keepdim=True)
        cut = {WEIGHTS: self.patches.cut(weights), PIXELS: self.patches.cut(pixels)}
        return {name: F.pad(values, (0, 0, 0, 1)) for name, values in cut.items()} if self.has_rest else cut

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        text = "The weights of each patch depend on the complete image; what it contributes is its pixels times these."
        if self._units[-1].name == POSITION:
            text += " What the codes of positions give is in no pixel."
        return (text,) * len(terms["activation"])

    def units(self) -> tuple[Unit, ...]:
        return self._units

    @torch.no_grad()
    def copy_teacher(self, teacher: nn.Module) -> None:
        """Takes the weights of an ordinary network of the same backbone, with a linear head.

        Args:
            teacher: a `zoo.training.black_box_file.Network`.

        Raises:
            ValueError: it has another backbone, or this network is not a B-cosified one.
        """
        if not self.converted:
            raise ValueError("teacher.start gives the weights of an ordinary network; Bcos needs the same `backbone`.")
        copy_bcosified(self.backbone, teacher, self.head.b, self.biases, "Bcos")
        self.head.load_state_dict(head_of(teacher.head.weight, self.head.b).state_dict())  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
        if self.biases:
            self.bias.copy_(teacher.head.bias)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        target, weights = batch["target"], batch.get("class_weights")
        if self.loss == "cross_entropy":
            return {"task": task_loss(scores, target, self.domain, weights)}
        return {"task": one_against_others(scores, target, weights, others=1 / scores.shape[1])}
