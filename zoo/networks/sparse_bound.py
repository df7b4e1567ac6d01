"""Steps of a sparse linear classifier for many concepts or classes, with a fixed bound of the curvature.

The curvature of a softmax over classes is at most half the Gram matrix of the scores for each class (Böhning:
"Multinomial logistic regression algorithm", Annals of the Institute of Statistical Mathematics, 1992). Each step
minimises this bound plus the penalty by one sweep of coordinate descent, for all classes at once, with Nesterov's
momentum and restarts. A step is cheap, but there are many; see `zoo.networks.sparse_newton`.
"""

from torch import Tensor

from zoo.networks.sparse_descent import Problem

CHECKED = 5  # steps between two evaluations of the objective


def bounded(problem: Problem, weight: Tensor, steps: int, tolerance: float) -> tuple[Tensor, list[float]]:
    """Minimises the objective.

    Args:
        problem: its data and penalty.
        weight: (k + 1, C) to start from; the last row is the bias.
        steps: largest number of steps.
        tolerance: stop when five steps improve the objective by less than this share of it.

    Returns:
        (k + 1, C) weights, and the objective after every five steps.
    """
    padded = problem.padded
    gram = padded.T @ padded / (2 * len(padded))
    gram.diagonal().add_(1e-6 * gram.diagonal().mean())
    gram = gram[..., None]
    ahead, momentum = weight, 1.0
    history = [problem.value(weight, padded @ weight)]
    for step in range(1, steps + 1):
        following = problem.descend(ahead, problem.slope((padded @ ahead).softmax(1)), gram)
        moved = following - weight
        if float(((ahead - following) * moved).sum()) > 0:  # the momentum points uphill
            momentum = 1.0
        grown = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead, weight, momentum = following + (momentum - 1) / grown * moved, following, grown
        if step % CHECKED == 0:
            history.append(problem.value(weight, padded @ weight))
            gained = history[-2] - history[-1]
            if gained < 0:  # momentum went too far
                ahead, momentum = weight, 1.0
            elif gained < tolerance * abs(history[-1]):
                break
    return weight, history
