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

from zoo.circuits.attention import sink_attention
from zoo.circuits.choice import Choice, task_loss
from zoo.circuits.network import SparseNetwork, beside
from zoo.circuits.topk import abs_topk
from zoo.circuits.transformer import SparseTransformer
from zoo.domain.text import PAD

METRICS, ABLATIONS = ("kl", "loss"), ("counterfactual", "mean", "zero")


@dataclass(frozen=True)
class Paths:
    """The paths that a task needs.

    Attributes:
        sources: names of what writes to the residual stream: the embedding, heads and MLPs.
        destinations: names of what reads it: queries, keys and values of heads, MLPs, the logits.
        kept: (S, D) bool.
        effect: (S, D) how much the metric rose when the path was tried to be left out; NaN where there is none.
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
    differ in, and not what both need.

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
    kept = graph.exist.clone()
    clean, whole = graph.run(choice.tokens, kept, None)
    others = _others(clean, choice, ablation)

    def measure() -> float:
        logits = graph.run(choice.tokens, kept, others)[1]
        if metric == "kl":
            return float(F.kl_div(logits.log_softmax(1), whole.log_softmax(1), log_target=True, reduction="batchmean"))
        right, wrong = (logits.gather(1, answer[:, None])[:, 0] for answer in (choice.right, choice.wrong))
        return task_loss(right - wrong).item()

    now, effect = measure(), torch.full(kept.shape, torch.nan)
    order = [(s, d) for d in reversed(range(kept.shape[1])) for s in reversed(range(kept.shape[0])) if kept[s, d]]
    for s, d in tqdm(order, desc="paths", leave=False, disable=quiet):
        kept[s, d] = False
        tried = measure()
        effect[s, d] = tried - now
        if tried - now < threshold:
            now = tried
        else:
            kept[s, d] = True
    return Paths(graph.sources, graph.destinations, kept.cpu(), effect, now)


def _others(clean: Sequence[Tensor], choice: Choice, ablation: str) -> list[Tensor]:
    """What paths that are left out carry, for each source (B, T, d)."""
    if ablation == "zero":
        return [torch.zeros_like(t) for t in clean]
    swapped = [t.unflatten(0, (-1, 2)).flip(1).flatten(0, 1) for t in clean]
    if ablation == "counterfactual":
        return swapped
    real = (choice.tokens != PAD)[..., None]
    return [((t * real).sum((0, 1)) / real.sum()).expand_as(t) for t in clean]


class Graph:
    """A transformer as a graph of what writes to its residual stream and what reads it.

    Args:
        network: the transformer.

    Attributes:
        exist: (S, D) bool, the paths that there are: from what is written earlier.
    """

    def __init__(self, network: SparseNetwork) -> None:
        self.network, heads = network, network.blocks[0].heads
        sources, destinations, after = ["embedding"], [], []
        for layer in range(network.layout.layers):
            for kind in ("query", "key", "value"):
                destinations += [f"layer {layer} head {h} {kind}" for h in range(heads)]
                after += [len(sources)] * heads
            sources += [f"layer {layer} head {h}" for h in range(heads)]
            destinations.append(f"layer {layer} MLP")
            after.append(len(sources))
            sources.append(f"layer {layer} MLP")
        destinations.append("logits")
        after.append(len(sources))
        self.sources, self.destinations = tuple(sources), tuple(destinations)
        self.exist = torch.arange(len(sources))[:, None] < torch.tensor(after)

    def run(self, tokens: Tensor, kept: Tensor, others: Sequence[Tensor] | None) -> tuple[list[Tensor], Tensor]:
        """What each source writes (B, T, d), and the logits (B, V) after the last token, along the kept paths.

        Args:
            tokens: (B, T).
            kept: (S, D) bool.
            others: what the other paths carry, by source; None if all paths are kept.
        """
        net, column = self.network, iter(range(len(self.destinations)))
        written = [net.embedding(tokens)]
        # Biases of writes belong to no head, and always count.
        stream = written[0]

        def read() -> Tensor:
            d = next(column)
            if others is None:
                return stream
            left_out = [s for s in range(len(written)) if not kept[s, d]]
            return stream + sum((others[s] - written[s] for s in left_out), torch.zeros_like(stream))

        for block in net.blocks:
            heads, positions = block.heads, net.position_channels(tokens.shape[1])
            size = net.layout.width // heads
            qkv = []
            for k, name in enumerate("qkv"):
                parts = []
                for h in range(heads):
                    rows = slice(k * net.layout.width + h * size, k * net.layout.width + (h + 1) * size)
                    seen = beside(abs_topk(block.attn_norm(read()), net.kept["attn_in"]), positions)
                    parts.append(F.linear(seen, block.qkv.weight[rows], block.qkv.bias[rows]))
                qkv.append(abs_topk(torch.cat(parts, -1), net.kept[f"attn_{name}"]))
            q, k, v = (t.unflatten(-1, (heads, size)).transpose(1, 2) for t in qkv)
            gathered = sink_attention(q, k, v, block.sink).transpose(1, 2).flatten(2)
            whole = block.out(gathered)
            gate = abs_topk(whole, net.kept["attn_out"]) != 0  # what a head writes, of what they write together
            for h in range(heads):
                part = slice(h * size, (h + 1) * size)
                written.append(gate * F.linear(gathered[..., part], block.out.weight[:, part]))
                stream = stream + written[-1]
            stream = stream + gate * block.out.bias
            seen = beside(abs_topk(block.mlp_norm(read()), net.kept["mlp_in"]), positions)
            hidden = abs_topk(F.gelu(block.up(seen)), net.kept["mlp_neuron"])
            written.append(abs_topk(block.down(hidden), net.kept["mlp_out"]))
            stream = stream + written[-1]
        rows, last = torch.arange(len(tokens), device=tokens.device), (tokens != PAD).sum(1) - 1
        logits = net.logits(read()[rows, last], tokens[rows, last])
        return written, logits
