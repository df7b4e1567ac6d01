"""How a converted model compares with its black box: scores, accuracy, and what its units leave out."""

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
    """Counts over rows.

    Attributes:
        rows: number of inputs.
        right: by what predicts: "black box", "model", and "units", the model without its residual.
        agree: inputs of which the black box predicts the same class, by what else predicts.
        difference: the largest between scores of model and black box.
        scale: the largest score of the black box.
        error: squared error of the features, of a sparse code.
        power: squared distance of the features from their mean, of a sparse code.
    """

    rows: int = 0
    right: dict[str, int] = field(default_factory=dict)
    agree: dict[str, int] = field(default_factory=dict)
    difference: float = 0.0
    scale: float = 0.0
    error: float = 0.0
    power: float = 0.0

    def accuracy(self, what: str) -> float | None:
        """The share of right predictions; None if nothing was counted under that name."""
        return self.right[what] / self.rows if self.rows and what in self.right else None

    @property
    def own_accuracy(self) -> float:
        """Accuracy of what the explanation names: the units without the residual, where there is one."""
        found = self.accuracy("units")
        return found if found is not None else self.accuracy("model") or 0.0

    @property
    def features_r2(self) -> float | None:
        """Variance of the features that the code explains; None of other models."""
        return 1 - self.error / self.power if self.power else None


@torch.no_grad()
def compare(model: SelfInterpretable, network: Network, batches: Iterable[Any]) -> Comparison:
    """Compares a model with its black box on all rows of some batches."""
    network = network.to(model.device).eval()
    residual = [k for k, unit in enumerate(model.units()) if unit.kind == "residual"]
    found = Comparison()
    with evaluating(model):
        for batch in map(as_batch, batches):
            x, target = batch["input"].to(model.device), batch["target"].to(model.device)
            wanted, (scores, evidence) = network(x), model.step(x)
            predicted = {"black box": wanted, "model": scores}
            if residual:
                predicted["units"] = model.readout(model.ablate(evidence, residual))
            for name, values in predicted.items():
                found.right[name] = found.right.get(name, 0) + same(values, target)
                found.agree[name] = found.agree.get(name, 0) + same(values, wanted.argmax(1))
            found.rows += len(x)
            found.difference = max(found.difference, (scores - wanted).abs().max().item())
            found.scale = max(found.scale, wanted.abs().max().item())
            if {"error", "power"} <= evidence.state.keys():
                found.error += total(evidence.state["error"])
                found.power += total(evidence.state["power"])
    return found


def same(scores: Tensor, target: Tensor) -> int:
    """The number of rows whose predicted class is the target (B,)."""
    return int((scores.argmax(1) == target).sum())


def total(values: Tensor) -> float:
    """The sum in double precision."""
    return values.double().sum().item()
