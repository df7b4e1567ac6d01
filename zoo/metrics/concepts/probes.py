"""Probes: many small networks that are trained in parallel to predict labels from representations."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

Layers = list[tuple[Tensor, Tensor]]  # weights (G, a, b) and biases (G, 1, b)


def split_rows(count: int, seed: int, test: float = 0.2) -> tuple[Tensor, Tensor]:
    """Random row numbers for training and for testing."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held_out = round(count * test)
    return order[held_out:], order[:held_out]


def standardise(inputs: Tensor, rows: Tensor) -> Tensor:
    """Inputs (N, ...) scaled to mean 0 and variance 1 on the given rows; NaN and constant columns become 0."""
    known = inputs[rows]
    mean = known.nanmean(0)
    spread = (known - mean).square().nanmean(0).sqrt()
    return ((inputs - mean) / spread).nan_to_num(0.0, 0.0, 0.0)


def fit_probes(
    inputs: Tensor,
    labels: Tensor,
    hidden: Sequence[int],
    epochs: int = 50,
    batch: int = 512,
    lr: float = 0.01,
    seed: int = 0,
) -> Layers:
    """Trains G ReLU networks, network g from inputs[g] to all labels, with Adam and binary cross-entropy.

    The networks are independent, apart from the order of batches, so each result does not depend on the others.

    Args:
        inputs: (G, N, d).
        labels: (N, k) in {0, 1, NaN}; NaN is ignored.
        hidden: widths of the hidden layers.
        epochs: passes over the data.
        batch: rows of a batch.
        lr: learning rate.
        seed: of the initial weights and the batches.

    Returns:
        A weight (G, a, b) and a bias (G, 1, b) for each layer.
    """
    draw = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.enable_grad():  # `compute` may run without gradients
        inputs, labels = inputs.detach().clone().float(), labels.detach().clone().float()
        layers: Layers = []
        for a, b in pairwise((inputs.shape[2], *hidden, labels.shape[1])):
            weight = (2 * torch.rand(a, b, generator=draw) - 1) * (6 / (a + b)) ** 0.5  # Glorot
            weight = weight.to(inputs.device).repeat(len(inputs), 1, 1).requires_grad_()
            layers.append((weight, torch.zeros(len(inputs), 1, b, device=inputs.device, requires_grad=True)))
        optimizer = torch.optim.Adam([p for layer in layers for p in layer], lr)
        for _ in range(epochs):
            for rows in torch.randperm(len(labels), generator=draw).to(inputs.device).split(batch):
                known = labels[rows].isfinite()
                logits = run_probes(layers, inputs[:, rows])
                truth = labels[rows].nan_to_num(0.0).expand_as(logits)
                terms = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * known
                optimizer.zero_grad()
                loss = terms.sum() / known.sum().clamp_min(1)  # a sum over networks; Adam is elementwise
                loss.backward()
                optimizer.step()
    return [(weight.detach(), bias.detach()) for weight, bias in layers]


def run_probes(layers: Layers, inputs: Tensor) -> Tensor:
    """Logits (G, N, k) of the networks on inputs (G, N, d)."""
    for weight, bias in layers[:-1]:
        inputs = torch.baddbmm(bias, inputs, weight).relu()
    weight, bias = layers[-1]
    return torch.baddbmm(bias, inputs, weight)
