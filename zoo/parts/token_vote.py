"""TokenVote: a transformer whose score is the mean of the logits of its tokens, without a class token.

Beyer, Zhai, Kolesnikov: "Better plain ViT baselines for ImageNet-1k", 2022, arXiv 2205.01580 (global average pooling);
readout: Vilas, Schaumlöffel, Roig, NeurIPS 2023, arXiv 2310.18969.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.core.unit_logits import UnitLogits
from zoo.domain import Domain, TextDomain
from zoo.domain.text import PAD
from zoo.networks.base import StateEncoder
from zoo.networks.encoders import create_encoder
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.networks.logit_lens import identifiability, lens_states
from zoo.networks.residual_stream import stream_of
from zoo.networks.target_units import in_target_units
from zoo.networks.text_encoders import TextTransformer
from zoo.networks.tokens import Tokens
from zoo.networks.vision_transformer import ImageTransformer
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space, task_loss

RECIPE = Recipe(
    stages=(Stage("train", epochs=20, train=("backbone", "head")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)
IMAGES = {"name": "vit_tiny_patch16_224", "patch_size": 2, "embed_dim": 8, "depth": 2, "num_heads": 2}  # of tests


@register(
    "token_vote",
    modality=("image", "text"),
    paper="Beyer et al., 2022 (mean pooling); Vilas et al., NeurIPS 2023",
    small=Small(
        {"backbone": {**IMAGES, "pool": "mean"}},
        scale={"head.weight": 5.0},
        variants={"text": Small({"backbone": {"name": "transformer", "width": 8, "layers": 2, "heads": 2}}, on="text")},
    ),
)
class TokenVote(UnitLogits):
    """A transformer whose tokens vote: score = bias + mean over the tokens of W h, exactly.

        h = norm(transformer(x))            (B, T, D)    a state for each patch or word, no class token
        logits_t = W h_t / T                (B, T, C)    padding has no vote

    Every token is a unit of activation 1, whose logit is its contribution; the score is that of a black box with the
    same backbone and mean pooling. Attention mixes tokens, so a vote stands for all that was gathered at its token and
    depends on the complete input: other than in `BagNet`, pixels outside of a patch change its vote. Often all tokens
    vote nearly alike (46 of 49 effective patches on MNIST), and the layers before the last tell more.

    Explanations have the detail "identifiability" (B, T, 1 + L): 1 - rank / C of the explained class among all C by
    the head's scores of a token's state after each of 0 to L layers. At 1 the state is already read as that class.

    Args:
        domain: what inputs and outputs mean (`data.domain`): images or texts.
        backbone: of images, a vision transformer with the option `pool: mean`; of texts, "transformer" or "hf" with
            `pooling` "masked". See `zoo.networks.encoders.create_encoder`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, head.

    Raises:
        ValueError: a backbone that does not pool by the mean of normed states.
    """

    default_recipe = RECIPE
    tasks = ("classification", "multilabel", "regression")
    places: Tensor  # (T, *S) in {0, 1}, where each token is

    def __init__(
        self, domain: dict[str, Any] | Domain, backbone: str | dict[str, Any], recipe: Recipe | None = None
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        self.backbone = self._encoder(backbone)
        self.head = in_target_units(nn.Linear(self.backbone.channels, len(self.domain.classes)), self.domain)
        self.tokens, self.space = Tokens(self.domain, self.backbone), score_space(self.domain)
        self.register_buffer("places", self.tokens.own()[self.tokens.prefix :], persistent=False)
        self._units = tuple(Unit(name, "token") for name in self.tokens.names[self.tokens.prefix :])

    def _encoder(self, backbone: str | dict[str, Any]) -> StateEncoder:
        encoder = create_encoder(backbone, self.domain)
        if isinstance(encoder, ImageTransformer):
            network = encoder.network
            fits = network.global_pool == "avg" and not network.pool_include_prefix
            fits = fits and isinstance(network.fc_norm, nn.Identity)
        else:
            fits = isinstance(encoder, TextTransformer | HuggingFaceText) and encoder.pooling == "masked"
        if not fits or not isinstance(encoder, StateEncoder):
            raise ValueError(
                "TokenVote needs a transformer that pools by the mean of normed states: for images {name: "
                "vit_tiny_patch16_224, pool: mean, ...} without fc_norm, for texts 'transformer' or 'hf' with pooling "
                f"'masked'; got {backbone}."
            )
        return encoder

    def evidence(self, x: Tensor) -> Evidence:
        state: dict[str, Tensor] = {}
        if self.training or isinstance(self.backbone, HuggingFaceText):  # whose layers have other norms
            states = self.backbone.states(x)
        else:
            lens = lens_states(self.backbone, stream_of(self.backbone, x))[:, :, self.tokens.prefix :]
            state, states = {"lens": lens}, lens[:, -1]
        votes = self.head(states) - self.head.bias
        here = (x != PAD).to(votes) if isinstance(self.domain, TextDomain) else torch.ones_like(votes[..., 0])
        state |= {"unit_logits": votes / here.sum(1).clamp_min(1)[:, None, None]}
        state |= {"bias": self.head.bias.expand(x.shape[0], -1)}
        if self.training:
            return Evidence(here, None, state)
        places = self.places.expand(x.shape[0], *[-1] * self.places.ndim)
        return Evidence(here, places, state)

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """How well each token is identified as the target after each layer, see `identifiability`; 0 for padding."""
        if "lens" not in evidence.state or self.domain.task == "regression":
            return {}
        found = identifiability(self.head(evidence.state["lens"]), target).mT  # (B, T, 1 + L)
        return {"identifiability": found * evidence.activation[..., None]}

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        text = "The vote of each token depends on the complete input, which attention has gathered there."
        return (text,) * len(terms["activation"])

    def units(self) -> tuple[Unit, ...]:
        return self._units

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights"))}
