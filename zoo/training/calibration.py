"""Calibrated probabilities of a classifier, as a step after the model that leaves its scores and their sum alone.

Platt: "Probabilistic Outputs for Support Vector Machines", 1999; Zadrozny, Elkan: "Transforming Classifier Scores into
Accurate Multiclass Probability Estimates", KDD 2002; Guo et al.: "On Calibration of Modern Neural Networks", ICML 2017.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from zoo.training.batch import as_batch
from zoo.training.staged_module import StagedModule
from zoo.utils.checks import check_choice
from zoo.utils.collate import collate

if TYPE_CHECKING:  # loading a model loads no data
    from zoo.data.base.module import DataModule

KINDS = ("platt", "isotonic")


@dataclass(frozen=True)
class Calibration:
    """A map from logits to probabilities, which no explanation contains: explanations are of the scores.

        platt, two classes:      p = sigmoid(slope (s_1 - s_0) + shift)   of the second class
        platt, more classes:     p = softmax(slope s)                     1 / slope is the temperature
        isotonic, two classes:   p = the increasing piecewise linear function of s_1 - s_0 through (places, values)

    Attributes:
        kind: "platt" or "isotonic".
        slope: above 0.
        shift: of the log-odds of two classes.
        places: increasing log-odds.
        values: probability of the second class at each.
    """

    kind: str
    slope: float = 1.0
    shift: float = 0.0
    places: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    @staticmethod
    def fit(scores: Tensor, target: Tensor, kind: str = "platt") -> "Calibration":
        """Finds the map from logits (N, C) and classes (N,) of rows that the model was not trained on.

        Raises:
            ValueError: an unknown kind, "isotonic" for more than two classes, or rows of a single class.
        """
        check_choice(KINDS, kind=kind)
        scores, target = scores.detach().double().cpu(), target.cpu().long()
        if len(target.unique()) < 2:
            raise ValueError(f"a calibration needs rows of two classes or more; got {len(target)} rows of one.")
        if kind == "platt":
            return Calibration(kind, *_platt(scores, target))
        if scores.shape[1] != 2:
            raise ValueError(f"isotonic calibration is for two classes; got {scores.shape[1]}. Use kind='platt'.")
        from sklearn.isotonic import IsotonicRegression  # takes a second, and few need it

        found = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores.diff()[:, 0], target)
        places, values = found.X_thresholds_.tolist(), found.y_thresholds_.tolist()
        return Calibration(kind, places=tuple(places), values=tuple(values))

    def probabilities(self, scores: Tensor) -> Tensor:
        """Probabilities (N, C) of logits (N, C)."""
        if self.kind == "isotonic":
            odds = scores.detach().double().cpu().diff()[:, 0].numpy()
            second = torch.from_numpy(np.interp(odds, self.places, self.values))
            return torch.stack([1 - second, second], 1).to(scores)
        shift = torch.tensor([0.0, self.shift]).to(scores) if scores.shape[1] == 2 else 0.0
        return (self.slope * scores + shift).softmax(1)

    def save(self, path: str | Path) -> None:
        """Writes a JSON file; a checkpoint holds none, so keep it beside the checkpoint."""
        Path(path).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: str | Path) -> "Calibration":
        """Reads a file written by `save`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds something else.
        """
        try:
            plain: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
            lists: dict[str, Any] = {name: tuple(plain[name]) for name in ("places", "values")}
            found = Calibration(**plain | lists)
            check_choice(KINDS, kind=found.kind)
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"{path} is not a calibration written by Calibration.save ({error}).") from error
        return found


@torch.no_grad()
def calibrate(model: StagedModule, data: "DataModule", kind: str = "platt") -> Calibration:
    """Fits a calibration of a model on the validation rows of its data.

    Raises:
        ValueError: the model predicts values or scores that are not logits; or see `Calibration.fit`.
    """
    if model.domain.task != "classification" or getattr(model, "space", "logit") != "logit":
        raise ValueError(f"{type(model).__name__} has no logits of classes, so there is nothing to calibrate.")
    score: Callable[[Tensor], Tensor] = model.eval()
    batches = [as_batch(batch) for batch in DataLoader(data.val_dataset(), data.batch_size, collate_fn=collate)]
    if not batches:
        raise ValueError("a calibration needs validation rows; the data have none.")
    scores = torch.cat([score(batch["input"].to(model.device)) for batch in batches])
    return Calibration.fit(scores, torch.cat([batch["target"] for batch in batches]), kind)


def _platt(scores: Tensor, target: Tensor) -> tuple[float, float]:
    """Slope and shift of least cross-entropy."""
    log_slope = torch.zeros((), dtype=torch.double, requires_grad=True)
    shift = torch.zeros((), dtype=torch.double, requires_grad=True)
    two = scores.shape[1] == 2
    fitted = [log_slope, shift] if two else [log_slope]
    optimizer = torch.optim.LBFGS(fitted, max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        add = torch.stack([torch.zeros_like(shift), shift]) if two else 0.0
        value = F.cross_entropy(log_slope.exp() * scores + add, target)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return float(log_slope.detach().exp()), float(shift.detach())
