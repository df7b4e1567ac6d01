"""Modular training: a regulariser, for any model, that penalises weights between clusters of neurons.

"Studying Cross-cluster Modularity in Neural Networks", arXiv 2502.02470, 2025 (first version: "Modular Training of
Neural Networks aids Interpretability").
"""

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn

from zoo.utils.functional import clusterability, equal_clusters


class Modular(Callback):
    """Adds -strength · (mean clusterability of some linear layers) to the training loss.

    Clusters are contiguous parts of equal size of the rows and of the columns; for a network trained from scratch, any
    other choice is equivalent up to the order of the neurons. The gradient of the term is added after the backward
    pass, so that it works with any model. The mean is logged as `train/clusterability`. In a config:

        trainer:
          callbacks:
            - class_path: zoo.circuits.Modular
              init_args: {strength: 0.7, layers: ["network.blocks.*.up"]}

    Differs from the published code: clusters are not refitted during training (there, by spectral clustering for
    pretrained networks; `zoo.metrics.spectral_clusters` finds such clusters for a measurement).

    Args:
        strength: λ > 0; published: 0.7 for small networks, 40 for fine-tuning language models.
        clusters: number of clusters, at least 2.
        layers: patterns of names of linear layers, such as "network.blocks.*.up".

    Raises:
        ValueError: a number out of range; on fit: no linear layer matches, or one is too small for the clusters.
    """

    def __init__(self, strength: float = 0.7, clusters: int = 4, layers: Sequence[str] = ("*",)) -> None:
        if strength <= 0 or clusters < 2:
            raise ValueError(f"expected strength > 0 and clusters >= 2; got {strength} and {clusters}.")
        self.strength, self.clusters, self.layers = strength, clusters, tuple(layers)
        self.chosen: list[nn.Linear] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        linears = {name: m for name, m in pl_module.named_modules() if isinstance(m, nn.Linear)}
        found = {name: m for name, m in linears.items() if any(fnmatch(name, pattern) for pattern in self.layers)}
        if not found:
            raise ValueError(
                f"no linear layer of {type(pl_module).__name__} matches {', '.join(self.layers)}; its layers are "
                f"{', '.join(list(linears)[:8]) or 'none'}."
            )
        for name, linear in found.items():
            if min(linear.weight.shape) < self.clusters:
                raise ValueError(
                    f"the weight of '{name}' has shape {tuple(linear.weight.shape)}, too small for {self.clusters} "
                    "clusters; choose other layers or fewer clusters."
                )
        self.chosen = list(found.values())

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        learning = [linear.weight for linear in self.chosen if linear.weight.grad is not None]
        if not learning:
            return
        with torch.enable_grad():
            score = torch.stack([self._clusterability(weight) for weight in learning]).mean()
        scaler: Any = getattr(trainer.precision_plugin, "scaler", None)
        scale = self.strength / trainer.accumulate_grad_batches * (1.0 if scaler is None else scaler.get_scale())
        for weight, gradient in zip(learning, torch.autograd.grad(score, learning), strict=True):
            if weight.grad is not None:
                weight.grad.sub_(scale * gradient)
        pl_module.log("train/clusterability", score.detach(), on_step=False, on_epoch=True)

    def _clusterability(self, weight: torch.Tensor) -> torch.Tensor:
        m, n = weight.shape
        rows, columns = (equal_clusters(size, self.clusters, weight.device) for size in (m, n))
        return clusterability(weight, rows, columns)
