"""Edge attribution patching with integrated gradients: which paths of a GPT-2 an answer needs.

Hanna, Pezzelle, Belinkov: "Have Faith in Faithfulness: Going Beyond Circuit Overlap When Finding Model Mechanisms",
COLM 2024, arXiv 2403.17806.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.circuits.analysis.acdc import Paths
from zoo.circuits.analysis.gpt2 import Gpt2Graph
from zoo.utils.checks import check_at_least, check_between

ROWS = 8  # prompts per pass


class CorruptedTask(NamedTuple):
    """Prompts with corrupted forms, such as `zoo.data.synthetic.english_prompts` generates.

    Attributes:
        tokens: (B, T), padded on the right.
        corrupted: (B, T), prompts of the same lengths.
        last: (B,), positions of the last tokens.
        right: (B,), the right next token.
        wrong: (B,), the wrong one.
    """

    tokens: Tensor
    corrupted: Tensor
    last: Tensor
    right: Tensor
    wrong: Tensor


@dataclass(frozen=True, eq=False)
class PathScores:
    """Estimated effects of the paths and nodes of a network.

    Attributes:
        graph: of the network.
        effect: (S, D), what the logit difference loses if the path carries its value on the corrupted prompt; 0 where
            there is no path.
        clean: logit difference of the network on the prompts, mean.
        corrupted: the same on the corrupted prompts, for the answers of the clean ones.
    """

    graph: Gpt2Graph
    effect: Tensor
    clean: float
    corrupted: float

    @property
    def nodes(self) -> Tensor:
        """(S,), the sum over the paths of each source: the first-order effect of patching the source."""
        return self.effect.sum(1)


def score_paths(graph: Gpt2Graph, prompts: CorruptedTask, steps: int = 5) -> PathScores:
    """Scores each path u -> v by (z_u - z'_u) · g_v, the estimated loss of logit difference when it is corrupted.

    z and z' are the outputs of u on the prompt and on its corrupted form; g is the gradient of the logit difference for
    what v reads, mean over passes whose embeddings lead in `steps` points from the corrupted prompt to the prompt.

    Args:
        graph: the network.
        prompts: with their corrupted forms.
        steps: points on the path, at least 1.
    """
    check_at_least(1, steps=steps)
    total, clean, corrupted = torch.zeros(graph.exist.shape), 0.0, 0.0
    for some in torch.arange(len(prompts.tokens)).split(ROWS):
        rows = CorruptedTask(*(t[some] for t in prompts))
        with torch.no_grad():
            here, there = (graph.run(graph.embed(t), rows.last) for t in (rows.tokens, rows.corrupted))
        clean += float(_difference(here.logits, rows).sum())
        corrupted += float(_difference(there.logits, rows).sum())
        change = torch.stack(here.written) - torch.stack(there.written)  # (S, B, T, d)
        start, end = there.written[0], here.written[0]
        for step in range(steps):
            probes: list[Tensor] = []
            with torch.enable_grad():
                run = graph.run(start + (end - start) * ((step + 1) / steps), rows.last, probes=probes)
                gradients = torch.autograd.grad(_difference(run.logits, rows).sum(), probes)
            read = torch.cat(gradients, 1)  # (B, D, T, d)
            total += torch.einsum("sbtd,brtd->sr", change, read).cpu() / steps
    count = len(prompts.tokens)
    return PathScores(graph, total * graph.exist / count, clean / count, corrupted / count)


@torch.no_grad()
def faithfulness(graph: Gpt2Graph, prompts: CorruptedTask, kept: Tensor) -> float:
    """Mean logit difference when all other paths carry their values on the corrupted prompts.

    Args:
        graph: the network.
        prompts: with their corrupted forms.
        kept: (S, D) bool.
    """
    total = 0.0
    for some in torch.arange(len(prompts.tokens)).split(ROWS):
        rows = CorruptedTask(*(t[some] for t in prompts))
        others = graph.run(graph.embed(rows.corrupted), rows.last).written
        run = graph.run(graph.embed(rows.tokens), rows.last, kept, others)
        total += float(_difference(run.logits, rows).sum())
    return total / len(prompts.tokens)


def needed_paths(scores: PathScores, prompts: CorruptedTask, share: float = 0.85) -> Paths:
    """The fewest paths of largest effect that keep a share of the logit difference, by bisection.

    The share is counted from the corrupted to the clean difference. Paths that do not lead from the embedding to the
    logits over kept paths are left out.

    Args:
        scores: see `score_paths`.
        prompts: with their corrupted forms.
        share: in [0, 1].

    Raises:
        ValueError: the network does not tell the prompts from the corrupted ones.
    """
    check_between(0, 1, share=share)
    if scores.clean <= scores.corrupted:
        raise ValueError(
            f"the logit difference is {scores.clean:.3f} on the prompts and {scores.corrupted:.3f} on the corrupted "
            "ones: this network does not solve the task, so no path of it does."
        )
    graph, target = scores.graph, scores.corrupted + share * (scores.clean - scores.corrupted)
    places = graph.exist.flatten().nonzero().flatten()
    order = places[scores.effect.flatten()[places].abs().argsort(descending=True, stable=True)]

    def largest(count: int) -> Tensor:
        kept = torch.zeros(graph.exist.numel(), dtype=torch.bool)
        kept[order[:count]] = True
        return connected(graph, kept.view(graph.exist.shape))

    low, high = 0, len(order)
    while low < high:
        count = (low + high) // 2
        if faithfulness(graph, prompts, largest(count)) >= target:
            high = count
        else:
            low = count + 1
    kept = largest(high)
    reached = faithfulness(graph, prompts, kept)
    effect = scores.effect.masked_fill(~graph.exist, torch.nan)
    return Paths(tuple(graph.sources), tuple(graph.destinations), kept, effect, reached)


def connected(graph: Gpt2Graph, kept: Tensor) -> Tensor:
    """The kept paths (S, D) that lie on a way from the embedding to the logits over kept paths."""
    leads_to = graph.leads_to
    kept = kept & graph.exist
    while True:
        fed, read = kept.any(0), kept.any(1)  # destinations that are reached, sources that are read
        alive = torch.ones(len(graph.sources), dtype=torch.bool)
        for source in range(1, len(graph.sources)):
            alive[source] = bool(fed[[d for d, owner in enumerate(leads_to) if owner == source]].any())
        useful = torch.tensor([owner is None or bool(read[owner]) for owner in leads_to])
        now = kept & alive[:, None] & useful
        if torch.equal(now, kept):
            return kept
        kept = now


def to_dict(scores: PathScores, paths: Paths | None) -> dict[str, Any]:
    """The circuit graph as plain data: nodes with effects, edges between them, and measured logit differences.

    Args:
        scores: of all paths.
        paths: that are kept; None if the network does not solve the task.
    """
    graph = scores.graph
    kept = [] if paths is None else paths.kept.nonzero().tolist()
    edges = [
        {"from": graph.sources[s], "to": graph.destinations[d], "effect": float(scores.effect[s, d])} for s, d in kept
    ]
    return {
        "clean": scores.clean,
        "corrupted": scores.corrupted,
        "circuit": None if paths is None else paths.metric,
        "all_edges": int(graph.exist.sum()),
        "nodes": [
            {"node": name, "effect": effect} for name, effect in zip(graph.sources, scores.nodes.tolist(), strict=True)
        ],
        "edges": sorted(edges, key=lambda edge: -abs(edge["effect"])),
    }


def _difference(logits: Tensor, rows: CorruptedTask) -> Tensor:
    """Logit (B,) of the right answer minus that of the wrong one."""
    return (logits.gather(1, rows.right[:, None]) - logits.gather(1, rows.wrong[:, None]))[:, 0]
