"""Rankings of the nodes of a network for a task, by the methods that `prune` can search with."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zoo.circuits.analysis.attribution import integrated_gates
from zoo.circuits.analysis.decomposition import decomposed_nodes
from zoo.circuits.analysis.mask_search import Pruning, fit_logits, smallest_mask
from zoo.circuits.analysis.token_pair_task import TokenPairTask
from zoo.circuits.sparse_transformer import SparseTransformer

ROUNDS = 4  # of attributions, each among the nodes that the last one kept
DECOMPOSED = 16  # prompts of a contextual decomposition
MARGIN = 2  # a mask search from attributions starts with this many times the nodes that they need
SHARE = 8  # and takes this share of the steps


def rank(
    model: SparseTransformer, task: TokenPairTask, options: Pruning, penalties: Sequence[float], quiet: bool = True
) -> list[Tensor]:
    """Rankings (L, N) of the nodes, larger for those that the task needs more; see `Pruning.method`.

    Args:
        model: with measured means.
        task: prompts; the two of a pair are adjacent.
        options: of the search.
        penalties: one mask is fitted for each; the other methods do without and return one ranking.
        quiet: show no progress bar.
    """
    if options.method == "mask":
        return [fit_logits(model, task, options, penalty, quiet) for penalty in penalties]
    if options.method == "cd":
        return [decomposed_nodes(model, task.rows(slice(DECOMPOSED)))]
    found = ranked_by_gates(model, task, options)
    if options.method == "eap-ig":
        return [found]
    count = int(smallest_mask(model, task, found, options.target).sum())
    start = torch.full_like(found, -options.start).view(-1)
    start[found.flatten().topk(min(MARGIN * count, found.numel())).indices] = options.start
    fewer = replace(options, steps=max(1, options.steps // SHARE))
    return [fit_logits(model, task, fewer, penalty, quiet, start.view_as(found)) for penalty in penalties]


def ranked_by_gates(model: SparseTransformer, task: TokenPairTask, options: Pruning) -> Tensor:
    """Ranking (L, N) by `integrated_gates`, in rounds.

    Each round ranks the nodes that are left by the sizes of their effects, and keeps the geometric mean of their number
    and the smallest number that reaches the target. Effects change when other nodes are ablated, so that one round
    finds larger circuits.
    """
    some = task.rows(slice(2 * options.pairs))
    left = torch.ones_like(model.means, dtype=torch.bool)
    found = torch.zeros_like(model.means)
    for turn in range(ROUNDS):
        effect = integrated_gates(model, some, left).abs().masked_fill(~left, -torch.inf)
        order = effect.flatten().argsort(descending=True, stable=True)
        place = torch.empty_like(found).view(-1)
        place[order] = torch.linspace(1, 0, len(order), device=order.device)
        found = torch.where(left, turn + place.view_as(found), found)
        needed, now = int(smallest_mask(model, some, found, options.target).sum()), int(left.sum())
        keep = math.ceil(math.sqrt(needed * now))
        if keep >= now:
            break
        left = torch.zeros_like(left).view(-1).index_fill_(0, order[:keep], True).view_as(left)
    return found
