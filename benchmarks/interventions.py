"""The intervention sweep at the size of CUB-200-2011, from cached evidence: `python -m benchmarks.interventions`.

5,794 test images, 112 concepts in 28 groups, 200 classes, concept embeddings of width 16; 29 points, 8 policies, and 5
orders of the random one. A few rows are also run the naive way, a readout for each what-if, as a model that does not
know its slopes would; both must give the same curves.
"""

import argparse
import resource
import sys
import time
from collections.abc import Sequence

import torch

from zoo.concepts.answers import Cached
from zoo.concepts.cem import CEM
from zoo.concepts.interventions import Curve, Protocol, make_policies, sweep
from zoo.domain import TableDomain
from zoo.evidence import Evidence

CONCEPTS, GROUPS, CLASSES, WIDTH = 112, 28, 200, 16
POLICIES = ("random", "uncertainty", "lcp", "cctp", "ectp", "eudtp", "coop", "greedy")
ANY_HEAD = tuple(name for name in POLICIES if name != "cctp")  # which is defined by slopes


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


def make_evidence(model: CEM, rows: int) -> Cached:
    """Embeddings of a spread that gives confident answers, and the class of highest score if all concepts were true."""
    draw = torch.Generator().manual_seed(0)
    positive, negative = torch.randn(2, rows, CONCEPTS, WIDTH, generator=draw)
    logit = 2 * torch.randn(rows, CONCEPTS, generator=draw)
    truth = (torch.rand(rows, CONCEPTS, generator=draw) < logit.sigmoid()).float()
    evidence = Evidence(logit.sigmoid(), state={"positive": positive, "negative": negative, "logit": logit})
    with torch.no_grad():
        model.head.weight.mul_(4)
        target = model.readout(Evidence(truth, state=evidence.state)).argmax(1)
    return Cached(evidence, target, truth)


def timed(
    model: CEM, cached: Cached, protocol: Protocol, title: str, names: Sequence[str] = POLICIES
) -> tuple[list[Curve], float]:
    start = time.perf_counter()
    curves = sweep(model, cached, make_policies(names, model, cached), protocol, title)
    return curves, time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default=5794, type=int)
    parser.add_argument("--naive-rows", default=4, type=int, help="rows that are also run the naive way")
    parser.add_argument("--threads", default=2, type=int)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = make_model(CEM)
    cached = make_evidence(model, options.rows)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{options.rows:,} rows x {CONCEPTS} concepts in {GROUPS} groups, {CLASSES} classes, {options.threads} threads"
    )
    for name, rescore in (("as published", None), ("all re-scored after every answer", True)):
        curves, seconds = timed(model, cached, Protocol(rescore=rescore), name)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"\n  {name}: {seconds:.1f} s; peak memory {peak:,.0f} MB, {peak - held:,.0f} MB more than the evidence")
        for curve in curves:
            points = "  ".join(f"{curve.at(share):.3f}" for share in (0.0, 0.25, 0.5, 1.0))
            print(f"    {curve.policy:<12} accuracy {points}   area {curve.area:.4f}")
    few = cached.part(slice(0, options.naive_rows), "cpu")
    naive_model = make_model(Naive)
    naive_model.load_state_dict(model.state_dict())
    protocol = Protocol(rescore=True)
    naive, slow = timed(naive_model, few, protocol, "a readout for each", ANY_HEAD)
    timed(model, few, protocol, "", ANY_HEAD)  # warms up
    same, fast = timed(model, few, protocol, "", ANY_HEAD)
    if any(not torch.equal(a.accuracy, b.accuracy) for a, b in zip(naive, same, strict=True)):
        raise ArithmeticError("the curves differ from those of a readout for each what-if.")
    print(
        f"\n  {len(few)} rows, a readout for each what-if: {slow:.1f} s, here {fast:.2f} s: {slow / fast:.0f} x; "
        "same curves"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
