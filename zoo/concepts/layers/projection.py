"""Concepts as directions in the features of a frozen backbone: features of the training set, and fits to scores."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from zoo.training.projection_set import ProjectionSet


def collect(backbone: Callable[[Tensor], Tensor], projection_set: ProjectionSet, *keys: str) -> list[Tensor]:
    """Features (N, d) of the projection set and further values of its batches, in its order, on every rank.

    Args:
        backbone: maps inputs to vectors.
        projection_set: the training set.
        keys: of the batches.

    Returns:
        The features, then the value of each key.

    Raises:
        ValueError: a batch lacks a key.
    """
    parts: dict[str, list[Tensor]] = {"features": [], **{key: [] for key in keys}}
    for batch in projection_set:
        parts["features"].append(backbone(batch["input"]).float())
        for key in keys:
            if key not in batch:
                raise ValueError(f"the data has no '{key}' in its batches; use data with annotated {key}.")
            parts[key].append(batch[key])
    return [projection_set.gather(torch.cat(rows)) for rows in parts.values()]


def moments(features: Iterable[Tensor], sum_over_ranks: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (d) of feature vectors, and the root of their mean squared distance () from it, over all ranks.

    Args:
        features: batches (N, d) of this rank.
        sum_over_ranks: of a tensor, such as `ProjectionSet.total`.

    Raises:
        ValueError: there are none.
    """
    total: Tensor | None = None
    for batch in features:
        x = batch.double()
        sums = torch.cat([x.sum(0), x.square().sum()[None], x.new_tensor([len(x)])])
        total = sums if total is None else total + sums
    if total is None:
        raise ValueError("the training set is empty; check the data.")
    total = sum_over_ranks(total)
    mean, power = total[:-2] / total[-1], total[-2] / total[-1]
    return mean.float(), (power - mean.square().sum()).clamp_min(0).sqrt().float()


def random_directions(weight: Tensor) -> Tensor:
    """Seeded normal directions of the shape of a weight (M, d), for the control with random concepts."""
    return torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)).to(weight)


def cubed_cosine(q: Tensor, p: Tensor) -> Tensor:
    """Similarity (M,) of the columns of q and p (N, M): cosine after centring and cubing (Label-free CBM, eq. 2)."""
    q, p = ((t - t.mean(0)).pow(3) for t in (q, p))
    return torch.nn.functional.cosine_similarity(q, p, dim=0)


def fit_projection(
    features: Tensor,
    scores: Tensor,
    *,
    steps: int = 1000,
    lr: float = 1e-3,
    every: int = 50,
    rows: int = 50_000,
    held_out: int = 10,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Fits directions whose products with the features are similar to the concept scores.

    Every `held_out`-th row is held out: training stops when their mean similarity falls, and the returned similarity
    is theirs.

    Args:
        features: (N, d).
        scores: (N, M).
        steps: maximum number of Adam steps.
        lr: learning rate.
        every: number of steps between evaluations on the held-out rows.
        rows: maximum batch size.
        held_out: one row in this many is held out.
        seed: of the initial directions and the batches.
        report: called with the step and the mean similarity at every evaluation.

    Returns:
        Directions (M, d), and the similarity (M,) of each concept, see `cubed_cosine`.
    """
    held = torch.arange(len(features), device=features.device) % held_out == held_out - 1
    train_x, train_p, val_x, val_p = features[~held], scores[~held], features[held], scores[held]
    draw = torch.Generator().manual_seed(seed)
    start = torch.randn(scores.shape[1], features.shape[1], generator=draw) * features.shape[1] ** -0.5
    weight = start.to(features).requires_grad_()
    optimizer = torch.optim.Adam([weight], lr)
    best, kept = -torch.inf, weight.detach().clone()
    with torch.enable_grad():
        for step in range(1, steps + 1):
            if len(train_x) > rows:
                chosen = torch.randperm(len(train_x), generator=draw)[:rows].to(features.device)
                x, p = train_x[chosen], train_p[chosen]
            else:
                x, p = train_x, train_p
            loss = -cubed_cosine(x @ weight.T, p).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % every == 0 or step == steps:
                with torch.no_grad():
                    now = cubed_cosine(val_x @ weight.T, val_p).mean().item()
                if report:
                    report(step, now)
                if now < best:
                    break
                best, kept = now, weight.detach().clone()
    return kept, cubed_cosine(val_x @ kept.T, val_p)
