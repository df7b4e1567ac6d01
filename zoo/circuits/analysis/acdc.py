"""ACDC: the paths between heads and MLPs that a task needs, found by removing one path after the other.

Conmy, Mavor-Parker, Lynch, Heimersheim, Garriga-Alonso: "Towards Automated Circuit Discovery for Mechanistic
Interpretability", NeurIPS 2023, arXiv 2304.14997.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.circuits.analysis.graph import Graph
from zoo.circuits.analysis.token_pair_task import TokenPairTask, task_loss
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.domain.text import PAD
from zoo.utils.checks import check_choice
from zoo.utils.progress import track

METRICS, ABLATIONS = ("kl", "loss"), ("counterfactual", "mean", "zero")


@dataclass(frozen=True)
class Paths:
    """The paths that a task needs.

    Attributes:
        sources: names of the S writers to the residual stream: the embedding, heads and MLPs.
        destinations: names of its D readers: queries, keys and values of heads, MLPs, the logits.
        kept: (S, D) bool.
        effect: (S, D), increase of the metric when the path was removed; NaN where there is no path, or where it was
            not tried because no kept path reads its destination.
        metric: value for the network with only the kept paths.
    """

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    kept: Tensor
    effect: Tensor
    metric: float

    @property
    def paths(self) -> list[tuple[str, str]]:
        """(source, destination) of the kept paths."""
        return [(self.sources[s], self.destinations[d]) for s, d in self.kept.nonzero().tolist()]


@torch.no_grad()
def acdc(
    model: SparseTransformer,
    task: TokenPairTask,
    threshold: float,
    metric: str = "kl",
    ablation: str = "counterfactual",
    quiet: bool = True,
) -> Paths:
    """Visits the readers from last to first, and removes each path to them whose removal barely changes the metric.

    A path carries the output of a head or MLP to one reader of the residual stream. A removed path carries the output
    on the other prompt of the pair, or its mean, or zero. Paths are coarser than the edges of a `Circuit`, which are
    single weights. With counterfactual ablation they represent the difference between the two prompts of a pair, and
    not what both prompts need. All paths to heads and MLPs that no kept path reads are removed.

    Each trial runs all prompts through the sublayers from the reader on; the sublayers before it are unchanged.

    Args:
        model: a sparse or a dense model.
        task: prompts; the two of a pair are adjacent.
        threshold: a path is removed if the metric increases by less than this, in nats.
        metric: "kl", from the next-token prediction of the complete network, or "loss", the two-way task loss.
        ablation: "counterfactual", "mean" (over all positions of the other prompts) or "zero".
        quiet: show no progress bar.

    Raises:
        ValueError: unknown metric or ablation; or pairs of prompts of different lengths, for counterfactual ablation.
    """
    check_choice(METRICS, metric=metric)
    check_choice(ABLATIONS, ablation=ablation)
    lengths = (task.tokens != PAD).sum(1)
    if ablation == "counterfactual" and not torch.equal(lengths[::2], lengths[1::2]):
        raise ValueError(
            "the prompts of some pairs have different numbers of tokens, so their positions do not correspond; use "
            "ablation='mean' or 'zero'."
        )
    graph, task = Graph(model.network), task.to(model.device)
    kept, effect = graph.exist.clone(), torch.full(graph.exist.shape, torch.nan)
    whole = graph.run(task.tokens)
    others = _ablated_outputs(whole.written, task, ablation)

    def measure(start: int) -> float:
        logits = graph.run(task.tokens, kept, others, whole, start).logits
        if metric == "kl":
            now, before = logits.log_softmax(1), whole.logits.log_softmax(1)
            return float(F.kl_div(now, before, log_target=True, reduction="batchmean"))
        return task_loss(task.logit_difference(logits)).item()

    now = measure(0)
    for d in track(reversed(range(len(graph.destinations))), "readers", kept.shape[1], shown=not quiet):
        start, source = graph.sublayer[d], graph.leads_to[d]
        if source is not None and not kept[source].any():
            kept[:, d] = False
            now = measure(start)  # may change, because the heads of a layer share one AbsTopK
            continue
        for s in kept[:, d].nonzero()[:, 0].flip(0).tolist():
            kept[s, d] = False
            tried = measure(start)
            effect[s, d] = tried - now
            if tried - now < threshold:
                now = tried
            else:
                kept[s, d] = True
    return Paths(tuple(graph.sources), tuple(graph.destinations), kept, effect, now)


def _ablated_outputs(clean: Sequence[Tensor], task: TokenPairTask, ablation: str) -> list[Tensor]:
    """Values (B, T, d) that removed paths carry, for each source."""
    if ablation == "zero":
        return [torch.zeros_like(t) for t in clean]
    swapped = [t.unflatten(0, (-1, 2)).flip(1).flatten(0, 1) for t in clean]
    if ablation == "counterfactual":
        return swapped
    real = (task.tokens != PAD)[..., None]
    return [((t * real).sum((0, 1)) / real.sum()).expand_as(t) for t in clean]
