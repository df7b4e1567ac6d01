"""ACDC: which paths between heads and MLPs a task needs, found by leaving out one after the other.

Conmy, Mavor-Parker, Lynch, Heimersheim, Garriga-Alonso: "Towards Automated Circuit Discovery for Mechanistic
Interpretability", NeurIPS 2023, arXiv 2304.14997.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from zoo.circuits.analysis.graph import Graph
from zoo.circuits.analysis.token_pair_task import Choice, task_loss
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.domain.text import PAD

METRICS, ABLATIONS = ("kl", "loss"), ("counterfactual", "mean", "zero")


@dataclass(frozen=True)
class Paths:
    """The paths that a task needs.

    Attributes:
        sources: names of what writes to the residual stream: the embedding, heads and MLPs.
        destinations: names of what reads it: queries, keys and values of heads, MLPs, the logits.
        kept: (S, D) bool.
        effect: (S, D) how much the metric rose when the path was tried to be left out; NaN where there is none, or
            where it was not tried, since nothing that is kept reads what it leads to.
        metric: of the network with the kept paths alone.
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
    choice: Choice,
    threshold: float,
    metric: str = "kl",
    ablation: str = "counterfactual",
    quiet: bool = True,
) -> Paths:
    """Visits every reader from the last to the first, and leaves out each path to it that the metric does not miss.

    A path carries what a head or MLP wrote to the residual stream to one reader of it. A path that is left out carries
    what was written on the other prompt of the pair (or its mean, or nothing). This is coarser than the edges of a
    `Circuit`, which are single weights, and it asks another question: the paths hold what the two prompts of a pair
    differ in, and not what both need. Heads and MLPs that no kept path reads are left out whole.

    Each try is one pass of all prompts through the sublayers from the reader on; those before it are as in the whole
    network.

    Args:
        model: sparse, or its dense twin.
        choice: prompts, two of each pair in a row.
        threshold: a path is left out if the metric rises by less, in nats.
        metric: "kl" from the whole network's prediction of the next token, or the two-way task "loss".
        ablation: "counterfactual", "mean" (over all positions of the other prompts) or "zero".
        quiet: show no progress bar.

    Raises:
        ValueError: an unknown choice, or pairs of prompts of different lengths, whose positions do not correspond.
    """
    for name, value, known in (("metric", metric, METRICS), ("ablation", ablation, ABLATIONS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}; got '{value}'.")
    lengths = (choice.tokens != PAD).sum(1)
    if ablation == "counterfactual" and not torch.equal(lengths[::2], lengths[1::2]):
        raise ValueError(
            "the prompts of some pairs differ in their number of tokens, so that positions do not correspond; use "
            "ablation='mean' or 'zero'."
        )
    graph, choice = Graph(model.network), choice.to(model.device)
    kept, effect = graph.exist.clone(), torch.full(graph.exist.shape, torch.nan)
    whole = graph.run(choice.tokens)
    others = _others(whole.written, choice, ablation)

    def measure(start: int) -> float:
        logits = graph.run(choice.tokens, kept, others, whole, start).logits
        if metric == "kl":
            now, before = logits.log_softmax(1), whole.logits.log_softmax(1)
            return float(F.kl_div(now, before, log_target=True, reduction="batchmean"))
        right, wrong = (logits.gather(1, answer[:, None])[:, 0] for answer in (choice.right, choice.wrong))
        return task_loss(right - wrong).item()

    now = measure(0)
    for d in tqdm(reversed(range(len(graph.destinations))), "readers", kept.shape[1], leave=False, disable=quiet):
        start, source = graph.sublayer[d], graph.leads_to[d]
        if source is not None and not kept[source].any():
            kept[:, d] = False
            now = measure(start)  # AbsTopK lets the heads of a layer compete, so that even this may change something
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


def _others(clean: Sequence[Tensor], choice: Choice, ablation: str) -> list[Tensor]:
    """What paths that are left out carry, for each source (B, T, d)."""
    if ablation == "zero":
        return [torch.zeros_like(t) for t in clean]
    swapped = [t.unflatten(0, (-1, 2)).flip(1).flatten(0, 1) for t in clean]
    if ablation == "counterfactual":
        return swapped
    real = (choice.tokens != PAD)[..., None]
    return [((t * real).sum((0, 1)) / real.sum()).expand_as(t) for t in clean]
