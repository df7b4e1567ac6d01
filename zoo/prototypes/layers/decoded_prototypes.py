"""Decoded pictures of latent prototypes, and the distance beyond which a model abstains."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.core.evidence import Unit
from zoo.prototypes.layers.autoencoder import Decoder, Gaussians, standard_noise
from zoo.training.projection_set import ProjectionSet
from zoo.training.stages import Stage


class DecodedPrototypes(nn.Module):
    """What is known about P latent prototypes after all training: how they look, and how near images usually are.

    Buffers: `threshold`, the distance within which a given share of the training images have a prototype ·
    `calibrated`, whether it is up to date · `pixel_spread` (P,) mean standard deviation of a pixel in [0, 1] among
    decoded samples · `pictures` (P, C, h, w) uint8, the decoded mean, of random prototypes at the top left of three
    samples · `drawn`, whether both are up to date.

    Args:
        count: P.
        channels: C, of the images.
        size: height and width of the images.
        random: whether the prototypes are distributions rather than points.
    """

    threshold: Tensor
    calibrated: Tensor
    drawn: Tensor
    pixel_spread: Tensor
    pictures: Tensor

    def __init__(self, count: int, channels: int, size: tuple[int, int], random: bool) -> None:
        super().__init__()
        side = 2 if random else 1
        self.register_buffer("threshold", torch.tensor(torch.inf))
        self.register_buffer("calibrated", torch.tensor(False))
        self.register_buffer("drawn", torch.tensor(False))
        self.register_buffer("pixel_spread", torch.zeros(count))
        blank = torch.zeros(count, channels, side * size[0], side * size[1], dtype=torch.uint8)
        self.register_buffer("pictures", blank)

    def calibrate(self, nearest: Iterable[Tensor], projection_set: ProjectionSet, coverage: float) -> None:
        """Sets the distance within which a share of the training images have a prototype.

        Args:
            nearest: distance of each image of this rank to its nearest prototype, batch by batch.
            projection_set: the training set.
            coverage: the share, in (0, 1].
        """
        distances = projection_set.gather(torch.cat(list(nearest)))
        self.threshold.copy_(distances.quantile(coverage, interpolation="higher"))
        self.calibrated.fill_(True)

    def draw(self, decoder: Decoder, prototypes: Gaussians, noise: Tensor) -> None:
        """Decodes each prototype: its mean, three samples beside it, and how much pixels differ among all samples.

        Args:
            decoder: latent vectors to pixels in [0, 1].
            prototypes: P distributions, or points.
            noise: (S, P, D), standard normal.
        """
        pictures = decoder(prototypes.mean)
        if prototypes.log_deviation is not None:
            three = prototypes.at(standard_noise(3, prototypes).to(noise))
            first, second, third = decoder(three.flatten(0, 1)).unflatten(0, (3, -1))
            pictures = torch.cat([torch.cat([pictures, first], 3), torch.cat([second, third], 3)], 2)
        self.pictures.copy_(pictures.mul(255).round().to(torch.uint8))
        for k, points in enumerate(prototypes.at(noise).unbind(1)):  # one prototype at a time bounds memory
            self.pixel_spread[k] = decoder(points).std(0, correction=0).mean()
        self.drawn.fill_(True)

    def on_stage_start(self, stage: Stage) -> None:
        """Marks pictures and distance as out of date if the stage trains anything."""
        if stage.trained:
            self.calibrated.fill_(False)
            self.drawn.fill_(False)

    def require_ready(self) -> None:
        """Refuses to explain with pictures or a distance from before the last training.

        Raises:
            RuntimeError: which action is missing, and the remedy.
        """
        done = {"calibrate": self.calibrated, "draw": self.drawn}
        if missing := [name for name, flag in done.items() if not flag]:
            raise RuntimeError(
                f"{' and '.join(missing)} did not run since the last training, so the pictures of the prototypes or "
                "the distance to abstain at are unknown: train with a recipe that ends in calibrate, draw and "
                "{name: measure, epochs: 1, train: []}, or call them."
            )

    def check_recipe(self, stages: Sequence[Stage]) -> None:
        """Refuses a recipe that does not calibrate and draw after its last training.

        Raises:
            ValueError: what to add to the recipe.
        """
        last = max((i for i, stage in enumerate(stages) if stage.trained), default=-1)
        after = {stage.name for stage in stages[last + 1 :]}
        if missing := [name for name in ("calibrate", "draw") if name not in after]:
            raise ValueError(
                f"the recipe lacks {' and '.join(missing)} after its last training, without which the model cannot "
                "explain; end it with {name: calibrate}, {name: draw} and {name: measure, epochs: 1, train: []}."
            )

    def units(self, names: Sequence[str], per_class: int, deviation: Tensor) -> tuple[Unit, ...]:
        """One unit for each prototype.

        Args:
            names: of the classes.
            per_class: Q, prototypes of each class, one class after another.
            deviation: (P,) mean standard deviation of each prototype.
        """
        units = []
        rows = zip(self.pictures.cpu(), deviation.tolist(), self.pixel_spread.tolist(), strict=True)
        for k, (picture, sigma, spread) in enumerate(rows):
            target, place = divmod(k, per_class)
            name = names[target] + (f" #{place + 1}" if per_class > 1 else "")
            source = {"deviation": sigma, "pixel spread": spread, "shows": "its mean, decoded, and samples"}
            known = (source, picture) if self.drawn else ({}, None)
            units.append(Unit(name, "prototype", target, *known))
        return tuple(units)

    def statements(
        self, terms: Mapping[str, Any], classes: Sequence[str], names: Sequence[str], coverage: float
    ) -> tuple[str, ...]:
        """One sentence for each row: its class with the uncertainty, or the advice to abstain.

        Args:
            terms: of an explanation.
            classes: their names.
            names: of the prototypes.
            coverage: share of the training images within `threshold` of a prototype.
        """
        details, scores = terms["details"], terms["scores"]
        total, mutual = (details[name].sum(1).tolist() for name in ("predictive entropy", "mutual information"))
        probability, label = (t.tolist() for t in scores.max(1))
        near, k = (t.tolist() for t in details["distance"].min(1))
        usual = f"{coverage:.0%} of the training images are within {self.threshold:.2f} of one"
        texts = []
        for i, typical in enumerate(details["typical"].any(1).tolist()):
            text = (
                f"{classes[label[i]]} with probability {probability[i]:.2f}; entropy {total[i]:.2f} nats, "
                f"{mutual[i]:.2f} of it because the prototypes are uncertain"
            )
            abstain = (
                f"no valid explanation, abstain: even the nearest prototype, {names[k[i]]}, is {near[i]:.2f} away; "
                f"{usual} ({text})"
            )
            texts.append(text if typical else abstain)
        return tuple(texts)
