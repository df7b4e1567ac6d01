"""What makes latent prototypes ready to explain: decoded pictures, and a distance beyond which to abstain."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.prototypes.layers.autoencoder import Decoder, Gaussians, standard_noise
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.stages import Stage

Base = SelfInterpretable if TYPE_CHECKING else object


class Decoded(Base):
    """Random prototypes that explain only once they were drawn and calibrated, after all training.

    A model has a `decoder`, the `prototypes`, their `noise` (S, P, D), and distances (B, S, P) in the state of its
    evidence; it calls `start_pictures`.

    Buffers: `threshold`, the distance within which `coverage` of the training images have a prototype · `pixel_spread`
    (P,) mean standard deviation of a pixel in [0, 1] among decoded samples · `pictures` (P, C, h, w) uint8, the decoded
    mean, of random prototypes at the top left of three samples.
    """

    decoder: Decoder
    prototypes: Gaussians
    noise: Tensor
    coverage: float
    per_class: int
    threshold: Tensor
    calibrated: Tensor
    drawn: Tensor
    pixel_spread: Tensor
    pictures: Tensor

    def start_pictures(self, channels: int, height: int, width: int) -> None:
        """Pictures of nothing, and no distance to abstain beyond."""
        count = len(self.prototypes.mean)
        side = 1 if self.prototypes.log_deviation is None else 2
        self.register_buffer("threshold", torch.tensor(torch.inf))
        self.register_buffer("calibrated", torch.tensor(False))
        self.register_buffer("drawn", torch.tensor(False))
        self.register_buffer("pixel_spread", torch.zeros(count))
        blank = torch.zeros(count, channels, side * height, side * width, dtype=torch.uint8)
        self.register_buffer("pictures", blank)

    def units(self) -> tuple[Unit, ...]:
        pictures, spread = self.pictures.cpu(), self.pixel_spread.tolist()
        deviation = self.prototypes.deviation().mean(1).tolist()
        units = []
        for k, picture in enumerate(pictures):
            target, place = divmod(k, self.per_class)
            name = self.domain.classes[target] + (f" #{place + 1}" if self.per_class > 1 else "")
            shown = {"shows": "its mean, decoded, and samples"}
            source = {"deviation": deviation[k], "pixel spread": spread[k], **shown} if self.drawn else {}
            units.append(Unit(name, "prototype", target, source, picture if self.drawn else None))
        return tuple(units)

    def abstains(self, evidence: Evidence) -> Tensor:
        """(B,) whether an image is far from every prototype, so that there is no valid explanation."""
        return evidence.state["distance"].mean(1).amin(1) > self.threshold

    def require_ready(self) -> None:
        if not (self.calibrated and self.drawn):
            missing = [n for n, done in (("calibrate", self.calibrated), ("draw", self.drawn)) if not done]
            raise RuntimeError(
                f"{' and '.join(missing)} did not run since the last training, so it is not known what the prototypes "
                "look like and when to abstain: train with a recipe that ends in calibrate, draw and "
                "{name: measure, epochs: 1, train: []}, or call them."
            )

    def check_recipe(self) -> None:
        last = max((i for i, stage in enumerate(self.stages) if stage.trained), default=-1)
        after = {stage.name for stage in self.stages[last + 1 :]}
        if missing := [name for name in ("calibrate", "draw") if name not in after]:
            raise ValueError(
                f"the recipe lacks {' and '.join(missing)} after its last training, without which the model does not "
                "explain; end it with {name: calibrate}, {name: draw} and {name: measure, epochs: 1, train: []}."
            )

    def on_stage_start(self, stage: Stage) -> None:
        if stage.trained:
            self.calibrated.fill_(False)
            self.drawn.fill_(False)

    @action
    def calibrate(self, projection_set: ProjectionSet) -> None:
        """Finds the distance within which `coverage` of the training images have a prototype."""
        mine = [self.evidence(batch["input"]).state["distance"].mean(1).amin(1) for batch in projection_set]
        nearest = projection_set.gather(torch.cat(mine))
        self.threshold.copy_(nearest.quantile(self.coverage, interpolation="higher"))
        self.calibrated.fill_(True)

    @action
    def draw(self, projection_set: ProjectionSet) -> None:
        """Decodes every prototype: its mean, three samples beside it, and how much pixels differ among all samples."""
        pictures = self.decoder(self.prototypes.mean)
        if self.prototypes.log_deviation is not None:
            noise = standard_noise(3, self.prototypes).to(self.noise)
            first, second, third = self.decoder(self.prototypes.at(noise).flatten(0, 1)).unflatten(0, (3, -1))
            pictures = torch.cat([torch.cat([pictures, first], 3), torch.cat([second, third], 3)], 2)
        self.pictures.copy_(pictures.mul(255).round().to(torch.uint8))
        for k, points in enumerate(
            self.prototypes.at(self.noise).unbind(1)
        ):  # one at a time, so that memory is bounded
            self.pixel_spread[k] = self.decoder(points).std(0, correction=0).mean()
        self.drawn.fill_(True)
