"""Prob-PSENN: prototypes that are distributions, so that explanations quantify their uncertainty.

"Uncertainty-Aware Explanations Through Probabilistic Self-Explainable Neural Networks", 2024, arXiv 2403.13740; on
Li, Liu, Chen, Rudin: "Deep Learning for Case-Based Reasoning through Prototypes", AAAI 2018, arXiv 1710.04806.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, ImageDomain
from zoo.prototypes.layers.autoencoder import Decoder, Encoder, Gaussians, standard_noise
from zoo.prototypes.layers.class_probabilities import (
    class_probabilities,
    counterfactuals,
    entropies,
    log_class_probabilities,
)
from zoo.prototypes.layers.decoded_prototypes import DecodedPrototypes
from zoo.prototypes.layers.image_input import require_images
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.utils.functional import at_least_fp32, squared_distances

RECIPE = Recipe(
    stages=(
        Stage("train", epochs=30, train=("encoder", "decoder", "prototypes")),
        Stage("calibrate"),
        Stage("draw"),
        Stage("measure", epochs=1, train=()),
    ),
    lr=2e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"cross_entropy": 20.0, "reconstruction": 1.0, "r1": 1.0, "r2": 1.0, "kl": 0.01},
)


@register(
    "probpsenn",
    modality="image",
    paper="Prob-PSENN, arXiv 2403.13740",
    small=Small(
        {"widths": [6, 4], "samples": 7},
        scale={"encoder.layers.2.weight": 4.0, "prototypes.mean": 0.2},
        variants={"points": Small({"deviation": None}), "several": Small({"prototypes_per_class": 2})},
    ),
)
class ProbPSENN(SelfInterpretable):
    """Compares an image with prototypical images that are random: a distribution for each class, decoded into pictures.

        z = f(x), x' = g(z)                          (B, D)      convolutional autoencoder
        p_k ~ N(μ_k, diag σ_k²)                      S samples by reparameterisation; k = 1..P, Q for each class
        d_sk = |z - p_sk|²                           (B, S, P)
        score_c = mean_s Σ_{k of class c} softmax_k(-d_s)         a probability, E_p[p(y | x, p)] by Monte Carlo
        a_k = exp(-mean_s d_sk)                      the activation, in [0, 1]

        loss = 20 cross-entropy + reconstruction + r1 + r2 + 0.01 kl
        reconstruction = mean_i |g(f(x_i)) - x_i|² over pixels in [0, 1]
        r1 = mean_k min_i mean_s d_isk    each prototype is close to some image of the batch   (Li et al., section 2.2)
        r2 = mean_i min_k mean_s d_isk    each image is close to some prototype
        kl = Σ_k KL(N(μ_k, σ_k²) | N(0, prior²))

    In evaluation the noise is one fixed draw, so that equal inputs have equal explanations.

    The model is not additive: scores are a softmax of distances, so explanations have no contributions. For each
    prototype they give its mean "distance" and the "distance spread" (standard deviation over samples), the exact
    score if it were "absent" (infinitely far) or "present" (at the image), and two kinds of uncertainty:

        of the prediction: "predictive entropy" = "expected entropy" (classes overlap) + "mutual information"
            (prototypes are uncertain), in nats. Each is a sum over classes; the term of a class is divided among its
            prototypes, so that the sum over the units is the entropy.
        of the explanation: "pixel spread", how far the decoded samples of a prototype differ (mean standard deviation
            of a pixel in [0, 1]), and "typical": whether the image is as near to the prototype as `coverage` of the
            training images are to their nearest one. If an image is typical of no prototype, the statement is to
            abstain.

    Actions: `calibrate` finds that distance on the training set; `draw` decodes means and samples into the pictures,
    the mean at the top left of three samples.

    `deviation=None` makes the prototypes points (σ = 0, S = 1), after Li et al. (2018).

    Differs from the papers: the weights of the loss, the prior and the rule to abstain are choices of this library; the
    encoder ends linear, with ReLU between its layers (Li et al.: sigmoid everywhere). Points belong to classes, too; Li
    et al. learn a linear layer from the distances to the logits.

    Args:
        domain: meaning of inputs and outputs (`data.domain`); images.
        widths: channels of the encoder's convolutions, each of stride 2; D is the last one times its cells.
        prototypes_per_class: Q.
        samples: S; an option of `explain` too.
        deviation: σ to start from, above 0; None for points.
        prior: standard deviation of the prior, above 0.
        coverage: share of the training images that are near enough not to abstain, in (0, 1].
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: encoder, decoder, prototypes.

    Raises:
        ValueError: a number out of range, fewer than two classes, or inputs that are not images.
    """

    additive = False
    space = "probability"
    adjustable = ("samples",)
    default_recipe = RECIPE
    former_names: ClassVar[Mapping[str, str]] = {
        name: f"decoded.{name}" for name in ("threshold", "calibrated", "drawn", "pixel_spread", "pictures")
    }
    domain: ImageDomain
    noise: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        widths: Sequence[int] = (32, 32, 32, 10),
        prototypes_per_class: int = 1,
        samples: int = 50,
        deviation: float | None = 0.1,
        prior: float = 1.0,
        coverage: float = 0.99,
        recipe: Recipe | None = None,
    ) -> None:
        domain = require_images(domain, "ProbPSENN")
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        if not widths or min(*widths, prototypes_per_class, samples) < 1:
            raise ValueError(
                "expected widths, each of them, prototypes_per_class and samples of at least 1; got "
                f"{list(widths)}, {prototypes_per_class} and {samples}."
            )
        if (deviation is not None and deviation <= 0) or prior <= 0 or not 0 < coverage <= 1:
            raise ValueError(
                "expected deviation > 0 (or None for points), prior > 0 and 0 < coverage <= 1; got "
                f"{deviation}, {prior} and {coverage}."
            )
        self.per_class, self.prior, self.coverage = prototypes_per_class, prior, coverage
        count = len(domain.classes) * prototypes_per_class
        self.encoder = Encoder(domain.channels, domain.size, widths)
        self.decoder = Decoder(self.encoder, domain.channels, widths)
        self.prototypes = Gaussians(count, self.encoder.dim, deviation)
        self.register_buffer("noise", standard_noise(1 if deviation is None else samples, self.prototypes))
        self.decoded = DecodedPrototypes(count, domain.channels, domain.size, random=deviation is not None)

    # The computation

    def evidence(self, x: Tensor) -> Evidence:
        z = at_least_fp32(self.encoder(x))
        noise = torch.randn_like(self.noise) if self.training else self.noise
        points = self.prototypes.at(noise)  # (S, P, D)
        # The images are the cells of one map: a single matrix product for all of them.
        distance = squared_distances(z.T[None, :, :, None], points.flatten(0, 1))[0, :, :, 0].T  # (B, S·P)
        distance = distance.unflatten(1, points.shape[:2])
        return Evidence(torch.exp(-distance.mean(1)), None, {"latent": z, "distance": distance})

    def readout(self, evidence: Evidence) -> Tensor:
        return class_probabilities(evidence.state["distance"], self.per_class).mean(1)

    def intervene(self, evidence: Evidence, mask: Tensor, values: Tensor) -> Evidence:
        """Sets prototypes to the distance -log(value) in every sample; the value 0 removes them.

        Raises:
            ValueError: values outside [0, 1], or no prototype would be left.
        """
        if bool(((values < 0) | (values > 1))[mask].any()):
            raise ValueError(
                "the activation of a prototype is exp(-distance), so it can only be set to values in [0, 1]."
            )
        distance = torch.where(mask[:, None], -values.log()[:, None], evidence.state["distance"])
        if bool(distance.isinf().all(2).any()):
            raise ValueError("no prototype is left to compare with; leave at least one.")
        activation = torch.where(mask, values, evidence.activation)
        return replace(evidence, activation=activation, state={**evidence.state, "distance": distance})

    def slopes(self, evidence: Evidence) -> None:
        """None, because scores are probabilities that sum to 1."""
        return

    @contextmanager
    def adjusted(self, samples: int | None = None, **options: Any) -> Iterator[None]:
        """The model with another number of samples within the block.

        Raises:
            ValueError: less than one sample, or more than one of points.
        """
        before = self.noise
        if samples is not None:
            if samples < 1 or (samples > 1 and self.prototypes.log_deviation is None):
                wanted = "1, as these prototypes are points" if self.prototypes.log_deviation is None else "at least 1"
                raise ValueError(f"samples must be {wanted}; got {samples}.")
            self.noise = standard_noise(samples, self.prototypes).to(before)
        try:
            yield
        finally:
            self.noise = before

    def reconstruct(self, evidence: Evidence) -> Tensor:
        """Pictures (B, C, H, W) in [0, 1], decoded from the latent vectors."""
        return self.decoder(evidence.state["latent"])

    # Explanation

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        distance = evidence.state["distance"]
        mean = distance.mean(1)
        absent, present = counterfactuals(distance, target, self.per_class)
        predictive, expected = entropies(class_probabilities(distance, self.per_class), self.per_class)
        return {
            "distance": mean,
            "distance spread": distance.std(1, correction=0),
            "pixel spread": self.decoded.pixel_spread.expand_as(mean),
            "typical": (mean <= self.decoded.threshold).float(),
            "predictive entropy": predictive,
            "expected entropy": expected,
            "mutual information": predictive - expected,
            "absent": absent,
            "present": present,
        }

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        names = [unit.name for unit in self.units()]
        return self.decoded.statements(terms, self.domain.classes, names, self.coverage)

    def units(self) -> tuple[Unit, ...]:
        deviation = self.prototypes.deviation().mean(1)
        return self.decoded.units(self.domain.classes, self.per_class, deviation)

    def abstains(self, evidence: Evidence) -> Tensor:
        """(B,) whether an image is far from every prototype, so that there is no valid explanation."""
        return self._nearest(evidence) > self.decoded.threshold

    def _nearest(self, evidence: Evidence) -> Tensor:
        """(B,) mean distance to the nearest prototype."""
        return evidence.state["distance"].mean(1).amin(1)

    # Recipe

    def require_ready(self) -> None:
        self.decoded.require_ready()

    def check_recipe(self) -> None:
        self.decoded.check_recipe(self.stages)

    def on_stage_start(self, stage: Stage) -> None:
        self.decoded.on_stage_start(stage)

    @action
    def calibrate(self, projection_set: ProjectionSet) -> None:
        """Finds the distance within which `coverage` of the training images have a prototype."""
        nearest = (self._nearest(self.evidence(batch["input"])) for batch in projection_set)
        self.decoded.calibrate(nearest, projection_set, self.coverage)

    @action
    def draw(self, projection_set: ProjectionSet) -> None:
        """Decodes means and samples of all prototypes."""
        self.decoded.draw(self.decoder, self.prototypes, self.noise)

    # Training

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        distance = evidence.state["distance"]
        expected = distance.mean(1)
        wrong = self.reconstruct(evidence) - self._pixels(batch["input"])
        return {
            "cross_entropy": F.nll_loss(
                log_class_probabilities(distance, self.per_class), batch["target"], batch.get("class_weights")
            ),
            "reconstruction": wrong.square().flatten(1).sum(1).mean(),
            "r1": expected.amin(0).mean(),
            "r2": expected.amin(1).mean(),
            "kl": self.prototypes.divergence(self.prior),
        }

    def _pixels(self, x: Tensor) -> Tensor:
        """Inputs as pixels in [0, 1]."""
        mean, std = (torch.tensor(v, device=x.device).view(-1, 1, 1) for v in (self.domain.mean, self.domain.std))
        return (x * std + mean).clamp(0, 1)
