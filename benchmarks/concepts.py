"""Concept models against the plain formulation of their formulas: `python -m benchmarks.concepts`.

Both sides are timed in turns, and their results are compared before any ratio is printed. The plain sides restate the
published form: a loop over concepts, groups or pairs, or a temporary that a matrix product avoids.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.concepts.embeddings import ConceptEmbedding
from zoo.concepts.intcem import IntCEM
from zoo.concepts.regularisers import consistency
from zoo.domain import TableDomain
from zoo.evidence import Evidence

CLOSE = 1e-5  # largest difference, relative to the largest value


class Case(NamedTuple):
    """Two ways to the same numbers.

    Attributes:
        title: what is computed, at which size.
        plain, ours: the two ways.
        goal: how many times faster ours should be.
    """

    title: str
    plain: Callable[[], Sequence[Tensor]]
    ours: Callable[[], Sequence[Tensor]]
    goal: float


def botcl_consistency(rows: int = 256, concepts: int = 20, dim: int = 128) -> Case:
    """Pairwise cosines of the rows that have a concept, concept by concept."""
    features, mass = torch.randn(rows, concepts, dim), torch.rand(rows, concepts)

    def plain() -> Sequence[Tensor]:
        means = []
        for k in range(concepts):
            chosen = features[mass[:, k] > mass[:, k].mean(), k]
            means.append(F.cosine_similarity(chosen[:, None], chosen[None], dim=2).mean())
        return [torch.stack(means).mean()]

    size = f"B {rows}, k {concepts}, d {dim}"
    return Case(f"BotCL consistency ({size})", plain, lambda: [consistency(features, mass)], 50)


def glm_gradient(rows: int = 256, classes: int = 1000, columns: int = 1000) -> Case:
    """The mean of outer products of residual and features, as a temporary of (B, C, k)."""
    residual, z = torch.randn(rows, classes), torch.randn(rows, columns)
    return Case(
        f"GLM gradient (B {rows}, C {classes}, k {columns})",
        lambda: [(residual[:, :, None] * z[:, None]).mean(0)],
        lambda: [residual.T @ z / rows],
        20,
    )


def cem_bottleneck(rows: int = 256, channels: int = 1000, concepts: int = 112, width: int = 16) -> Case:
    """One layer a concept, forward and backward."""
    fused, h = ConceptEmbedding(channels, concepts, width, shared=True), torch.randn(rows, channels)
    layers = nn.ModuleList(nn.Linear(channels, 2 * width) for _ in range(concepts))
    for i, layer in enumerate(layers):
        part = slice(2 * width * i, 2 * width * (i + 1))
        layer.weight.data, layer.bias.data = fused.embed.weight.data[part], fused.embed.bias.data[part]

    def plain() -> Sequence[Tensor]:
        mixed = []
        for layer in layers:
            both = F.leaky_relu(layer(h))
            p = torch.sigmoid(both @ fused.score[0] + fused.bias)[:, None]
            mixed.append(p * both[:, :width] + (1 - p) * both[:, width:])
        out = torch.cat(mixed, 1)
        layers.zero_grad()
        out.square().sum().backward()
        return [out.detach(), torch.cat([layer.weight.grad for layer in layers])]  # pyright: ignore

    def ours() -> Sequence[Tensor]:
        positive, negative, logit = fused(h)
        out = torch.lerp(negative, positive, logit.sigmoid()[..., None]).flatten(1)
        fused.zero_grad()
        out.square().sum().backward()
        return [out.detach(), fused.embed.weight.grad]  # pyright: ignore

    return Case(f"CEM bottleneck (B {rows}, d {channels}, k {concepts}, m {width})", plain, ours, 1.3)


def intcem_targets(rows: int = 256, groups: int = 28, classes: int = 200, width: int = 16) -> Case:
    """One call of the head for each group that might be asked for."""
    concepts = tuple(f"concept {i}" for i in range(4 * groups))
    domain = TableDomain(
        classes=tuple(f"class {c}" for c in range(classes)),
        concepts=concepts,
        concept_groups={f"group {g}": concepts[4 * g : 4 * g + 4] for g in range(groups)},
        features=("a", "b"),
    )
    model = IntCEM(domain, backbone={"name": "mlp", "widths": [8]}, width=width)
    positive, negative = torch.randn(2, rows, len(concepts), width)
    evidence = Evidence(torch.rand(rows, len(concepts)), state={"positive": positive, "negative": negative})
    truth, target = torch.randint(0, 2, (rows, len(concepts))).float(), torch.randint(0, classes, (rows,))
    asked = torch.zeros(rows, groups)

    @torch.no_grad()
    def plain() -> Sequence[Tensor]:
        scores = []
        for g in range(groups):
            mask = model.members[g].bool().expand(rows, -1)
            changed = model.readout(model.intervene(evidence, mask, truth))
            scores.append(changed.gather(1, target[:, None]))
        return [torch.cat(scores, 1).argmax(1).float()]

    @torch.no_grad()
    def ours() -> Sequence[Tensor]:
        return [model.greedy_group(evidence, truth, asked, target).float()]

    return Case(f"IntCEM targets (B {rows}, G {groups}, C {classes}, m {width})", plain, ours, 8)


def measured(case: Case, seconds: float) -> tuple[float, float]:
    """Median seconds of both sides, timed in turns; refuses results that differ."""
    for a, b in zip(case.plain(), case.ours(), strict=True):
        gap = ((a - b).abs().max() / a.abs().max().clamp_min(1e-12)).item()
        if gap > CLOSE:
            raise ArithmeticError(f"{case.title}: the two results differ by {gap:.2g} of the largest value.")
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 3:
        for side, spent in zip((case.plain, case.ours), times, strict=True):
            start = time.perf_counter()
            side()
            spent.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--seconds", default=6.0, type=float, help="of timing for each case")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"{options.threads} threads, equal to {CLOSE:g} of the largest value\n")
    missed = 0
    for make in (botcl_consistency, glm_gradient, cem_bottleneck, intcem_targets):
        case = make()
        plain, ours = measured(case, options.seconds)
        missed += plain / ours < case.goal
        print(
            f"{case.title:48}  plain {1e3 * plain:8.2f} ms  ours {1e3 * ours:7.2f} ms  "
            f"{plain / ours:6.1f} x  (goal {case.goal:g} x)"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
