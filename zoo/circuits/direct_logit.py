"""Direct logit attribution: the class scores of a transformer as an exact sum over its heads and MLPs.

Elhage et al.: "A Mathematical Framework for Transformer Circuits", 2021; nostalgebraist: "Interpreting GPT: the Logit
Lens", 2020. Class scores of the states of vision transformers: Vilas, Schaumlöffel, Roig: "Analyzing Vision
Transformers for Image Classification in Class Embedding Space", NeurIPS 2023, arXiv 2310.18969.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.circuits.analysis.direct_logits import Split, directions, split
from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.core.unit_logits import UnitLogits
from zoo.domain import Domain
from zoo.networks.base import Features
from zoo.networks.encoders import create_encoder
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.networks.residual_stream import outputs, stream_of
from zoo.networks.target_units import in_target_units
from zoo.networks.timm_blocks import check_transformer
from zoo.networks.tokens import Tokens
from zoo.training.batch import Batch
from zoo.training.distillation import copy_weights
from zoo.training.recipe import Recipe, parse_recipe
from zoo.training.staged_module import StagedModule
from zoo.training.stages import Stage
from zoo.training.tasks import score_space, task_loss
from zoo.utils.checks import check_choice

RECIPE = Recipe(
    stages=(Stage("train", epochs=10, train=("backbone", "head")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)
MEASURED = replace(RECIPE, stages=(Stage("measure", epochs=1, train=()),))  # of a trained black box
UNITS = ("head", "head_and_token", "token", "layer")
IMAGES = {"name": "vit_tiny_patch16_224", "patch_size": 2, "embed_dim": 8, "depth": 2, "num_heads": 2}  # of tests
TEXTS = {"name": "transformer", "width": 8, "layers": 2, "heads": 2}


@register(
    "direct_logit",
    modality=("image", "text"),
    paper="Elhage et al., 2021; Vilas et al., NeurIPS 2023",
    small=Small(
        {"backbone": {**IMAGES, "pool": "token", "init_values": 0.5}},
        scale={"head.weight": 5.0},
        variants={
            "text": Small({"backbone": TEXTS}, on="text"),
        },
    ),
)
class DirectLogit(UnitLogits):
    """A transformer classifier whose scores are split over what its heads and MLPs write: one level deep, exactly.

        h = embedding + Σ_layers (Σ_heads P V W_O + b_O + MLP)               (B, T, D)    the residual stream
        score_c = Σ_i pool_i ⟨w_c, norm(h_i)⟩ + b_c                                       as the black box has it
                = Σ_components Σ_i pool_i / σ_i ⟨w_c, g (component_i - mean)⟩ + bias_c    σ_i as observed

    The model is the black box of the same backbone, with the same scores, and trains like one, or starts from a trained
    one by `teacher: {run: ..., start: true, weight: 0}` of the recipe or by `from_black_box`. Scale σ and mean of the
    final norm are held at the values of the input, so that a unit is removed from the sum alone.

    Contributions are direct effects: what a head changes in later layers counts for these. How it came to write what it
    wrote, such as its attention, is not explained, and as attention mixes tokens, each position stands for what the
    model had gathered there, not for the pixels or the word alone: changing these can change every contribution.

    The support of a head is where it reads, that of an MLP and of the embedding where they write what is pooled, by the
    length of the class scores from there relative to the unit's largest. With `units` "head", explanations have the
    detail "sources" (B, K, T): the exact contribution from each token, class token, registers and special tokens first.

    Encoders built like BERT have norms after their layers, so that only the last layer is split: heads, MLP, and the
    states that it reads, with both of its norms held. If the encoder has a pooler φ(A h + a), its factors φ(u) / u are
    held too.

    Args:
        domain: what inputs and outputs mean (`data.domain`): images or texts.
        backbone: of images, a network of timm's class `VisionTransformer` with the option `pool`, or without it (the
            mean of the states of the last layer, before the norm); of texts, "transformer", or "hf" built like BERT.
            See `zoo.networks.encoders.create_encoder`.
        units: "head": each head of each layer, each MLP, the embedding, and the biases of all attentions; "layer":
            heads and MLP of a layer as one; "token": each token, by what heads read there and MLPs write there;
            "head_and_token": each head at each token that it reads, which are many.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, head.

    Raises:
        ValueError: another modality, a network that is no such sum, or an unknown choice.
    """

    default_recipe = RECIPE
    tasks = ("classification", "multilabel", "regression")

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any],
        units: Literal["head", "head_and_token", "token", "layer"] = "head",
        recipe: Recipe | None = None,
    ) -> None:
        teacher = parse_recipe(recipe).teacher
        super().__init__(domain, recipe, default_recipe=MEASURED if teacher and teacher.start else RECIPE)
        self.keep_arguments(locals())
        check_choice(UNITS, units=units)
        self.backbone = create_encoder(backbone, self.domain)
        check_transformer(self.backbone, "DirectLogit")
        self.head = in_target_units(nn.Linear(self.backbone.channels, len(self.domain.classes)), self.domain)
        self.split_by, self.space = units, score_space(self.domain)
        self.tokens = Tokens(self.domain, self.backbone)
        self._units = self._build_units()

    @classmethod
    def from_black_box(cls, network: StagedModule, **options: Any) -> "DirectLogit":
        """A model with a copy of the weights of a trained `BlackBox`, which is not changed; `options` as above."""
        arguments = network.arguments
        model = cls(**{"domain": arguments["domain"], "backbone": arguments["backbone"], **options})
        copy_weights(network, model)
        return model.train(network.training)

    def evidence(self, x: Tensor) -> Evidence:
        ones = self.head.weight.new_ones(x.shape[0], len(self._units))
        if self.training or isinstance(x, Features):  # nothing is split
            return Evidence(ones, None, {"scores": self.head(self.backbone(x))})
        stream = stream_of(self.backbone, x)
        parts, bias = split(stream, self.head, self.backbone)
        logits, strength = self._by_unit(parts)
        state = {"unit_logits": logits, "bias": bias}
        if self.split_by == "head":
            state |= {"heads": parts.heads, "others": parts.others}
        if self.split_by == "token":
            support = self.tokens.own().to(strength).expand(x.shape[0], *[-1] * (len(self.tokens.grid) + 1))
        else:
            support = self.tokens.places(strength / strength.amax(2, keepdim=True).clamp_min(1e-12))
        return Evidence(ones, support, state)

    def _by_unit(self, parts: Split) -> tuple[Tensor, Tensor]:
        """Class scores (B, K, C) of the units, and how much of them comes from each token, (B, K, T)."""
        relative, here = self._relative(parts), torch.eye(parts.heads.shape[2], device=parts.heads.device)
        here = here.expand(parts.heads.shape[0], -1, -1)
        if self.split_by == "head":
            return parts.per_component(), relative.strengths()
        if self.split_by == "layer":
            return parts.per_layer().sum(2), relative.per_layer().norm(dim=3)
        if self.split_by == "token":
            return parts.per_position(), here
        strengths, heads = relative.strengths(), parts.heads.shape[1]
        places = torch.cat([strengths[:, :1], here.repeat(1, heads, 1), strengths[:, 1 + heads :]], 1)
        return parts.per_head_and_position(), places

    def _relative(self, parts: Split) -> Split:
        return parts.relative() if self.domain.task == "classification" and len(self.domain.classes) > 1 else parts

    def readout(self, evidence: Evidence) -> Tensor:
        return evidence.state["scores"] if "scores" in evidence.state else super().readout(evidence)

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """With `units` "head": the contribution of each unit from each token, (B, K, T)."""
        state = evidence.state
        if "heads" not in state:
            return {}
        output, classes = directions(self.head, self.backbone)
        maps = Split(state["heads"], output, state["others"], classes).maps(target)
        return {"sources": evidence.activation[..., None] * maps}

    def units(self) -> tuple[Unit, ...]:
        return self._units

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        held = "final norm and pooler" if getattr(self.backbone, "pooler", None) is not None else "the final norm"
        text = f"Direct effects on the score, with {held} held; what a unit changes in later layers counts there."
        return (text,) * len(terms["activation"])

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights"))}

    def _build_units(self) -> tuple[Unit, ...]:
        tokens = self.tokens.names
        layers = [len(matrix) for matrix in outputs(self.backbone)]
        if self.split_by == "token":
            return tuple(Unit(name, "token") for name in tokens)
        before, start = 0, "embedding"
        if isinstance(self.backbone, HuggingFaceText):
            before = self.backbone.network.config.num_hidden_layers - 1
            start = f"input of layer {before + 1}"
        first, last = [Unit(start, "embedding")], [Unit("attention biases", "bias")]
        each = [{"layer": before + i + 1} for i in range(len(layers))]
        if self.split_by == "layer":
            return (*first, *(Unit(f"layer {s['layer']}", "layer", source=s) for s in each), *last)
        heads = [
            Unit(f"layer {s['layer']} head {h + 1}", "head", source={**s, "head": h + 1})
            for s, count in zip(each, layers, strict=True)
            for h in range(count)
        ]
        if self.split_by == "head_and_token":
            heads = [
                Unit(f"{unit.name} from {token}", "head", source={**unit.source, "token": token})
                for unit in heads
                for token in tokens
            ]
        return (*first, *heads, *(Unit(f"layer {s['layer']} MLP", "MLP", source=s) for s in each), *last)
