"""Concept models compared with the plain formulation of their equations.

Plain: the published form, which loops over concepts, groups or pairs, or builds a temporary tensor that a matrix
product avoids.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness import Case, Goal
from zoo.concepts.intcem import IntCEM
from zoo.concepts.layers.embeddings import ConceptEmbedding
from zoo.concepts.layers.regularisers import consistency
from zoo.core.evidence import Evidence
from zoo.domain import TableDomain

CLOSE = 1e-5  # largest difference, relative to the largest value


def case(what: str, plain: Callable[[], Sequence[Tensor]], ours: Callable[[], Sequence[Tensor]], goal: float) -> Case:
    return Case(what, {"zoo": ours, "plain": plain}, goal=Goal(at_least=goal), apart=CLOSE)


def botcl_consistency(device: torch.device, rows: int = 256, concepts: int = 20, dim: int = 128) -> Case:
    """Pairwise cosines of the rows that have a concept, concept by concept."""
    features = torch.randn(rows, concepts, dim, device=device)
    mass = torch.rand(rows, concepts, device=device)

    def plain() -> Sequence[Tensor]:
        means = []
        for k in range(concepts):
            chosen = features[mass[:, k] > mass[:, k].mean(), k]
            means.append(F.cosine_similarity(chosen[:, None], chosen[None], dim=2).mean())
        return [torch.stack(means).mean()]

    size = f"B {rows}, k {concepts}, d {dim}"
    return case(f"BotCL consistency ({size})", plain, lambda: [consistency(features, mass)], 50)


def glm_gradient(device: torch.device, rows: int = 256, classes: int = 1000, columns: int = 1000) -> Case:
    """The mean of outer products of residual and features, as a temporary of (B, C, k)."""
    residual, z = torch.randn(rows, classes, device=device), torch.randn(rows, columns, device=device)
    return case(
        f"GLM gradient (B {rows}, C {classes}, k {columns})",
        lambda: [(residual[:, :, None] * z[:, None]).mean(0)],
        lambda: [residual.T @ z / rows],
        20,
    )


def cem_bottleneck(
    device: torch.device, rows: int = 256, channels: int = 1000, concepts: int = 112, width: int = 16
) -> Case:
    """One layer a concept, forward and backward."""
    fused = ConceptEmbedding(channels, concepts, width, shared=True).to(device)
    h = torch.randn(rows, channels, device=device)
    layers = nn.ModuleList(nn.Linear(channels, 2 * width) for _ in range(concepts)).to(device)
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

    return case(f"CEM bottleneck (B {rows}, d {channels}, k {concepts}, m {width})", plain, ours, 1.3)


def intcem_targets(
    device: torch.device, rows: int = 256, groups: int = 28, classes: int = 200, width: int = 16
) -> Case:
    """One call of the head for each group that might be asked for."""
    concepts = tuple(f"concept {i}" for i in range(4 * groups))
    domain = TableDomain(
        classes=tuple(f"class {c}" for c in range(classes)),
        concepts=concepts,
        concept_groups={f"group {g}": concepts[4 * g : 4 * g + 4] for g in range(groups)},
        features=("a", "b"),
    )
    model = IntCEM(domain, backbone={"name": "mlp", "widths": [8]}, width=width).to(device)
    positive, negative = torch.randn(2, rows, len(concepts), width, device=device)
    evidence = Evidence(
        torch.rand(rows, len(concepts), device=device), state={"positive": positive, "negative": negative}
    )
    truth = torch.randint(0, 2, (rows, len(concepts)), device=device).float()
    target, asked = torch.randint(0, classes, (rows,), device=device), torch.zeros(rows, groups, device=device)

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

    return case(f"IntCEM targets (B {rows}, G {groups}, C {classes}, m {width})", plain, ours, 8)


def cases(device: torch.device) -> Iterator[Case]:
    for make in (botcl_consistency, glm_gradient, cem_bottleneck, intcem_targets):
        yield make(device)
