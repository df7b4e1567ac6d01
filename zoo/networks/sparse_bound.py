"""Steps of a sparse linear classifier for many concepts or classes, with a fixed bound of the curvature.

The curvature of a softmax over classes is at most half the Gram matrix of the scores for each class (Böhning:
"Multinomial logistic regression algorithm", Annals of the Institute of Statistical Mathematics, 1992). Each step
minimises this bound plus the penalty by one sweep of coordinate descent, for all classes at once, with Nesterov's
momentum and restarts. A step is cheap, but there are many; see `zoo.networks.sparse_newton`.
"""

from collections.abc import Callable

from torch import Tensor

from zoo.networks.sparse_descent import descend

CHECKED = 5  # steps between two evaluations of the objective


def bounded(
    padded: Tensor,
    onehot: Tensor,
    weight: Tensor,
    lam: float,
    alpha: float,
    steps: int,
    tolerance: float,
    value: Callable[[Tensor, Tensor], float],
) -> tuple[Tensor, list[float]]:
    """Minimises the objective.

    Args:
        padded: (N, k + 1) concept scores and a column of ones.
        onehot: (N, C) classes.
        weight: (k + 1, C) to start from; the last row is the bias.
        lam: λ.
        alpha: share of the L1 term.
        steps: largest number of steps.
        tolerance: stop when five steps improve the objective by less than this share of it.
        value: the objective of weights and their logits (N, C).

    Returns:
        (k + 1, C) weights, and the objective after every five steps.
    """
    rows = len(padded)
    gram = padded.T @ padded / (2 * rows)
    gram.diagonal().add_(1e-6 * gram.diagonal().mean())
    gram = gram[..., None]
    ahead, momentum = weight, 1.0
    history = [value(weight, padded @ weight)]
    for step in range(1, steps + 1):
        slope = padded.T @ ((padded @ ahead).softmax(1) - onehot) / rows
        following = descend(ahead, slope, gram, lam * alpha, lam * (1 - alpha))
        moved = following - weight
        if float(((ahead - following) * moved).sum()) > 0:  # the momentum points uphill
            momentum = 1.0
        grown = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead, weight, momentum = following + (momentum - 1) / grown * moved, following, grown
        if step % CHECKED == 0:
            history.append(value(weight, padded @ weight))
            gained = history[-2] - history[-1]
            if gained < 0:  # momentum went too far
                ahead, momentum = weight, 1.0
            elif gained < tolerance * abs(history[-1]):
                break
    return weight, history
