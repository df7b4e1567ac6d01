"""How a converted model compares with its black box: scores, accuracy or R², and what its units leave out."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from zoo.core.module import SelfInterpretable
from zoo.training.batch import as_batch
from zoo.training.black_box_file import Network
from zoo.training.modes import evaluating


@dataclass
class Comparison:
    """Sums over rows. What predicts is "black box", "model", or "units", the model without its residual.

    Attributes:
        values: whether scores are values of regression targets, not of classes.
        rows: number of inputs.
        misses: (C,) by what predicts: wrong predictions as one number; of values squared errors of each target.
        differs: the same against the predictions of the black box.
        moments: (2, C) sums and sums of squares of the targets, of values.
        told: the same of the values of the black box.
        difference: the largest between scores of model and black box.
        scale: the largest score of the black box.
        error: squared error of the features, of a sparse code.
        power: squared distance of the features from their mean, of a sparse code.
    """

    values: bool = False
    rows: int = 0
    misses: dict[str, Tensor] = field(default_factory=dict)
    differs: dict[str, Tensor] = field(default_factory=dict)
    moments: Tensor | None = None
    told: Tensor | None = None
    difference: float = 0.0
    scale: float = 0.0
    error: float = 0.0
    power: float = 0.0

    def add(self, predicted: dict[str, Tensor], target: Tensor, wanted: Tensor) -> None:
        """Adds predictions (B, C) by what predicts, with targets (B,) or (B, C), and scores (B, C) of the black box."""
        self.rows += len(wanted)
        if self.values:
            target = target.view(wanted.shape)
            self.moments, self.told = _moments(target, self.moments), _moments(wanted, self.told)
        for name, scores in predicted.items():
            for sums, other in ((self.misses, target), (self.differs, wanted if self.values else wanted.argmax(1))):
                missed = (scores - other).double().square().sum(0) if self.values else _wrong(scores, other)
                sums[name] = sums.get(name, torch.zeros_like(missed)) + missed

    def quality(self, what: str) -> float | None:
        """The share of right predictions, or the mean R² of the targets; None if nothing was counted so."""
        return self._share(self.misses, what, self.moments)

    def agreement(self, what: str) -> float | None:
        """The same with the predictions of the black box in place of the targets."""
        return self._share(self.differs, what, self.told)

    def rmse(self, what: str) -> list[float]:
        """Root mean squared error of each target, of values."""
        return (self.misses[what] / self.rows).sqrt().tolist()

    def _share(self, missed: dict[str, Tensor], what: str, moments: Tensor | None) -> float | None:
        if not self.rows or what not in missed:
            return None
        spread = torch.full((1,), float(self.rows), dtype=torch.double)
        if moments is not None:
            spread = (moments[1] - moments[0].square() / self.rows).clamp_min(1e-300)
        return (1 - missed[what].cpu() / spread.cpu()).mean().item()

    @property
    def own_quality(self) -> float:
        """Quality of what the explanation names: the units without the residual, where there is one."""
        found = self.quality("units")
        return found if found is not None else self.quality("model") or 0.0

    @property
    def features_r2(self) -> float | None:
        """Variance of the features that the code explains; None of other models."""
        return 1 - self.error / self.power if self.power else None


@torch.no_grad()
def compare(model: SelfInterpretable, network: Network, batches: Iterable[Any]) -> Comparison:
    """Compares a model with its black box on all rows of some batches."""
    network = network.to(model.device).eval()
    residual = [k for k, unit in enumerate(model.units()) if unit.kind == "residual"]
    found = Comparison(model.domain.task == "regression")
    with evaluating(model):
        for batch in map(as_batch, batches):
            x, target = batch["input"].to(model.device), batch["target"].to(model.device)
            wanted, (scores, evidence) = network(x), model.step(x)
            predicted = {"black box": wanted, "model": scores}
            if residual:
                predicted["units"] = model.readout(model.ablate(evidence, residual))
            found.add(predicted, target, wanted)
            found.difference = max(found.difference, (scores - wanted).abs().max().item())
            found.scale = max(found.scale, wanted.abs().max().item())
            if {"error", "power"} <= evidence.state.keys():
                found.error += total(evidence.state["error"])
                found.power += total(evidence.state["power"])
    return found


def _wrong(scores: Tensor, target: Tensor) -> Tensor:
    """(1,) the number of rows whose predicted class is not the target (B,)."""
    return (scores.argmax(1) != target).sum().double()[None]


def _moments(values: Tensor, before: Tensor | None) -> Tensor:
    found = torch.stack([values.double().sum(0), values.double().square().sum(0)])
    return found if before is None else before + found


def total(values: Tensor) -> float:
    """The sum in double precision."""
    return values.double().sum().item()
