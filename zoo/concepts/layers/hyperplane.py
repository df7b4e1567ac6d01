"""Concept activation vectors: the hyperplane between items with and without a concept (TCAV, post-hoc CBM)."""

import numpy as np
import torch
from torch import Tensor

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # C of the support vector machines


def fit_hyperplane(features: Tensor, labels: Tensor) -> tuple[Tensor, float, float]:
    """Fits linear support vector machines and keeps the one with the highest accuracy on held-out items.

    Args:
        features: (N, d); every fourth item is held out.
        labels: (N,) in {0, 1}, or bool.

    Returns:
        The normal vector (d,) of unit length, the offset, and the accuracy on the held-out items.
    """
    from sklearn.svm import LinearSVC  # imported here because scikit-learn takes most of a second to import

    x, y = features.double().numpy(), labels.numpy()
    held_out = torch.arange(len(y)).numpy() % 4 == 3
    machines = [
        LinearSVC(C=c, dual="auto", random_state=0, max_iter=5000).fit(x[~held_out], y[~held_out]) for c in STRENGTHS
    ]
    accuracy = [float(machine.score(x[held_out], y[held_out])) for machine in machines]
    best = machines[accuracy.index(max(accuracy))]
    vector = torch.from_numpy(best.coef_[0]).float()
    length = vector.norm().clamp_min(1e-12)
    return vector / length, float(np.ravel(best.intercept_)[0]) / length.item(), max(accuracy)
