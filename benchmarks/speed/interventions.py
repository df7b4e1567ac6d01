"""The intervention sweep at the size of CUB-200-2011, from cached evidence.

5,794 test images, 112 concepts in 28 groups, 200 classes, concept embeddings of width 16; 29 points, 8 policies, and 5
orders of the random policy. A few rows are also run by a naive method, one readout for each possible intervention, as
for a model without known slopes; both give the same curves.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.harness import Case, Goal, Reading, peak_memory
from zoo.concepts.cem import CEM
from zoo.core.evidence import Evidence
from zoo.domain import TableDomain
from zoo.interventions.cached_evidence import CachedEvidence
from zoo.interventions.policies import make_policies
from zoo.interventions.protocol import Protocol
from zoo.interventions.sweep import sweep

ROWS, FEW, CONCEPTS, GROUPS, CLASSES, WIDTH = 5794, 4, 112, 28, 200, 16
POLICIES = ("random", "uncertainty", "lcp", "cctp", "ectp", "eudtp", "coop", "greedy")
ANY_HEAD = tuple(name for name in POLICIES if name != "cctp")  # which is defined by slopes
PROTOCOLS = {"as published": None, "all re-scored after each answer": True}


class Naive(CEM):
    """The same model without its slopes, so that every what-if is a readout."""

    def slopes(self, evidence: Evidence) -> None:
        return None


def make_model(kind: type[CEM]) -> CEM:
    concepts = tuple(f"concept {i}" for i in range(CONCEPTS))
    groups = {f"group {g}": concepts[4 * g : 4 * g + 4] for g in range(GROUPS)}
    classes = tuple(f"class {c}" for c in range(CLASSES))
    domain = TableDomain(classes=classes, concepts=concepts, concept_groups=groups, features=("a", "b"))
    torch.manual_seed(0)
    return kind(domain, backbone={"name": "mlp", "widths": [8]}, width=WIDTH).eval()


@torch.no_grad()
def make_evidence(model: CEM, rows: int) -> CachedEvidence:
    """Embeddings of a spread that gives confident answers, and the class of highest score if all concepts were true."""
    draw = torch.Generator().manual_seed(0)
    positive, negative = torch.randn(2, rows, CONCEPTS, WIDTH, generator=draw)
    logit = 2 * torch.randn(rows, CONCEPTS, generator=draw)
    truth = (torch.rand(rows, CONCEPTS, generator=draw) < logit.sigmoid()).float()
    evidence = Evidence(logit.sigmoid(), state={"positive": positive, "negative": negative, "logit": logit})
    model.head.weight.mul_(4)
    target = model.readout(Evidence(truth, state=evidence.state)).argmax(1)
    return CachedEvidence(evidence, target, truth)


def curves(model: CEM, cached: CachedEvidence, rescore: bool | None, names: Sequence[str] = POLICIES) -> list[Tensor]:
    """The accuracies after each number of groups, of each policy."""
    found = sweep(model, cached, make_policies(names, model, cached), Protocol(rescore=rescore))
    return [curve.accuracy for curve in found]


def cases(device: torch.device) -> Iterator[Case | Reading]:
    model, naive = make_model(CEM), make_model(Naive)
    cached = make_evidence(model, ROWS)
    naive.load_state_dict(model.state_dict())
    few = cached.part(slice(0, FEW), "cpu")
    yield Case(
        f"curves of {FEW} rows, {len(ANY_HEAD)} policies, all re-scored after each answer",
        {
            "zoo": partial(curves, model, few, True, ANY_HEAD),
            "one readout per possible intervention": partial(curves, naive, few, True, ANY_HEAD),
        },
        apart=0.0,
        memory=False,
    )
    for name, rescore in PROTOCOLS.items():
        start = time.perf_counter()
        peak = peak_memory(partial(curves, model, cached, rescore), device)
        seconds = time.perf_counter() - start
        what = f"{ROWS:,} rows, {len(POLICIES)} policies, {name}"
        yield Reading(what, seconds, "s", Goal(at_most=120))
        if peak is not None:
            yield Reading(f"{what}: peak memory beyond the evidence", peak, "MiB")
