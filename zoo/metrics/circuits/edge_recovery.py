"""Agreement of the edges of a circuit with ground-truth edges."""

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


class EdgeRecovery(NamedTuple):
    """Agreement of found edges with true ones.

    Attributes:
        auc: area under the curve of true over false positive rates, over all thresholds; see `pessimistic_area`.
        true_positive_rate: of the n strongest edges, for n true ones.
        false_positive_rate: of the same edges.
        order: (H,) the found neuron that is matched to each true one.
    """

    auc: float
    true_positive_rate: float
    false_positive_rate: float
    order: Tensor


def edge_recovery(found: tuple[Tensor, Tensor], true: tuple[Tensor, Tensor]) -> EdgeRecovery:
    """Compares the weights of a two-layer network with those of a teacher, up to a permutation of the neurons.

    The scale of a neuron is arbitrary, because the second layer can undo it, so each neuron is normalised by its
    largest first-layer weight. Found neurons are matched to true ones so that the sum of |found| · |true| is maximal.

    Args:
        found: weights (F, H') and (H', C), H' >= H.
        true: weights (F, H) and (H, C); the non-zero ones are the edges.

    Raises:
        ValueError: incompatible shapes, or no true edge.
    """
    (first, second), (above, below) = found, true
    fits = first.shape[0] == above.shape[0] and second.shape[1] == below.shape[1]
    if not fits or first.shape[1] != second.shape[0] or first.shape[1] < above.shape[1]:
        raise ValueError(
            "expected weights (F, H') and (H', C) for true ones (F, H) and (H, C), H' >= H; got "
            f"{tuple(first.shape)}, {tuple(second.shape)}, {tuple(above.shape)} and {tuple(below.shape)}."
        )
    rows, truth = _rows(first, second), _rows(above, below)
    similar = torch.nn.functional.normalize(truth, dim=1) @ torch.nn.functional.normalize(rows, dim=1).T
    order = torch.as_tensor(linear_sum_assignment(similar.cpu().numpy(), maximize=True)[1])
    strength, edges = rows[order].flatten(), truth.flatten() > 0
    if not bool(edges.any()):
        raise ValueError("expected true weights with at least one non-zero entry; all are 0.")
    top = strength.sort(descending=True, stable=True).indices[: int(edges.sum())]
    hits = int(edges[top].sum())
    return EdgeRecovery(
        auc=pessimistic_area(*_rates(strength, edges)),
        true_positive_rate=hits / int(edges.sum()),
        false_positive_rate=(len(top) - hits) / max(int((~edges).sum()), 1),
        order=order,
    )


def pessimistic_area(false_positive: Tensor, true_positive: Tensor) -> float:
    """Area under the step curve through rates (n,) at some thresholds, with the lower value between two points.

    Conmy et al.: "Towards Automated Circuit Discovery for Mechanistic Interpretability", NeurIPS 2023, arXiv
    2304.14997, section 4. Points in any order; (0, 0) and (1, 1) are added.
    """
    x = torch.cat([false_positive.double(), torch.tensor([0.0, 1.0], dtype=torch.float64)])
    y = torch.cat([true_positive.double(), torch.tensor([0.0, 1.0], dtype=torch.float64)])
    order = sorted(range(len(x)), key=lambda i: (x[i].item(), y[i].item()))
    x, y = x[order], y[order].cummax(0).values
    return (x.diff() * y[:-1]).sum().item()


def _rows(first: Tensor, second: Tensor) -> Tensor:
    """(H, F + C) absolute weights into and out of each neuron, normalised."""
    into, out = first.abs().double().T, second.abs().double()
    scale = into.amax(1, keepdim=True).clamp_min(1e-12)
    return torch.cat([into / scale, out * scale], 1)


def _rates(strength: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """False and true positive rates at every threshold."""
    thresholds = strength.unique()
    chosen = strength >= thresholds[:, None]
    false = (chosen & ~edges).sum(1) / max(int((~edges).sum()), 1)
    return false, (chosen & edges).sum(1) / int(edges.sum())
