"""How good a sparse code is: variance explained, atoms in use, dead atoms."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric


class ExplainedVariance(Metric):
    """R² of the features: 1 - squared error / squared distance from the mean of the training set."""

    is_differentiable, higher_is_better, full_state_update = False, True, False
    error: Tensor
    power: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("error", torch.tensor(0.0, dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("power", torch.tensor(0.0, dtype=torch.double), dist_reduce_fx="sum")

    def update(self, error: Tensor, power: Tensor) -> None:
        """Adds the squared errors and distances (B,) of a batch."""
        self.error += error.double().sum()
        self.power += power.double().sum()

    def compute(self) -> Tensor:
        return (1 - self.error / self.power).float()


class DeadShare(Metric):
    """Share of the m atoms that no input uses."""

    is_differentiable, higher_is_better, full_state_update = False, False, False
    used: Tensor

    def __init__(self, atoms: int) -> None:
        super().__init__()
        self.add_state("used", torch.zeros(atoms), dist_reduce_fx="sum")

    def update(self, code: Tensor) -> None:
        """Adds pooled codes (B, m)."""
        self.used += (code > 0).any(0)

    def compute(self) -> Tensor:
        return (self.used == 0).float().mean()


class CodeMetrics(nn.Module):
    """Validation and test metrics of a sparse code.

    | name | what |
    |---|---|
    | features_r2 | see `ExplainedVariance` |
    | active | mean number of atoms in use, of a cell |
    | active_total | the same, of an input |
    | dead | see `DeadShare` |
    | agreement | share of inputs of which the readout and the black box predict the same class |

    Args:
        atoms: m.
        agreement: whether there is a black box to agree with.
    """

    def __init__(self, atoms: int, agreement: bool) -> None:
        super().__init__()
        self.metrics = nn.ModuleDict()
        for split in ("val", "test"):
            self.metrics[f"{split}_features_r2"] = ExplainedVariance()
            self.metrics[f"{split}_active"], self.metrics[f"{split}_active_total"] = MeanMetric(), MeanMetric()
            self.metrics[f"{split}_dead"] = DeadShare(atoms)
            if agreement:
                self.metrics[f"{split}_agreement"] = MeanMetric()

    def update(self, split: str, scores: Tensor, code: Tensor, state: Mapping[str, Tensor]) -> dict[str, Metric]:
        """Adds a batch and returns the metrics of the split by name; none in "train".

        Args:
            split: "train", "val" or "test".
            scores: (B, C).
            code: pooled codes (B, m).
            state: of the evidence, see `zoo.concepts.SparseCode`.
        """
        values: dict[str, tuple[Tensor, ...]] = {
            "features_r2": (state["error"], state["power"]),
            "active": (state["active"],),
            "active_total": ((code > 0).sum(1),),
            "dead": (code,),
        }
        if "black_box" in state:
            values["agreement"] = ((scores.argmax(1) == state["black_box"].argmax(1)).float(),)
        found: dict[str, Metric] = {}
        for name, value in values.items():
            if (key := f"{split}_{name}") in self.metrics:
                metric = self.metrics[key]
                assert isinstance(metric, Metric)
                metric.update(*value)
                found[name] = metric
        return found
