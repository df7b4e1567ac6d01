"""What weight-sparse transformers add, against its plain formulations: `python -m benchmarks.circuits_speed`.

Projection of weights after a step, AbsTopK with its gradient, attention with a sink with its gradients, whole training
steps, and inference with the non-zeros alone. Every pair is checked to give the same result before it is timed, but for
the step of a dense twin, whose row says how much of its time a sparse step takes. Times are the best of some runs,
taken in turn, since other work on the machine can only add to them.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.circuits.attention import explicit, sink_attention
from zoo.circuits.csr import csr_linear, to_csr
from zoo.circuits.optimizer import SparseAdam
from zoo.circuits.projection import Budget, Projector
from zoo.circuits.topk import abs_topk
from zoo.circuits.transformer import SparseTransformer
from zoo.data.idioms import documents
from zoo.data.tokenized import train_tokenizer
from zoo.domain import CodeDomain


class Pair(NamedTuple):
    """Two ways to do the same, which return what they found, and how far apart that may be; None: how far it likes."""

    what: str
    plain: Callable[[], list[Tensor]]
    ours: Callable[[], list[Tensor]]
    apart: float | None


def topk_and_mask(weight: Tensor, keep: int) -> Tensor:
    """The projection as it is mostly written."""
    kept = weight.abs().flatten().topk(keep).indices
    return weight * torch.zeros(weight.numel(), dtype=torch.bool).index_fill_(0, kept, True).view_as(weight)


def stable_sort(weight: Tensor, budget: Budget) -> Tensor:
    """The projection by sorting, with the least alive of each neuron and ties by index."""
    size, other = weight.abs(), 1 - budget.axis
    if budget.alive:
        size.scatter_(other, size.topk(budget.alive, dim=other).indices, torch.inf)
    out, order = weight.clone(), size.flatten().sort(descending=True, stable=True).indices
    out.view(-1)[order[budget.keep :]] = 0
    return out


def projections() -> Iterator[Pair]:
    """Matrices whose magnitudes all differ, so that whoever keeps the largest keeps the same; ours pays for a copy."""
    for rows, columns, one_in in ((4096, 1024, 4), (4096, 1024, 64), (4096, 1024, 1000), (8192, 2048, 64)):
        size = rows * columns
        weight = (torch.randperm(size) + 1).float().view(rows, columns) * torch.randn(rows, columns).sign()
        alives = (0, 4) if one_in <= 64 else (0,)  # 4 in each of 4096 rows are more than 1 in 1000
        for alive in alives:
            budget, work = Budget(size // one_in, alive), torch.empty_like(weight)
            projector = Projector([work])

            def ours(
                projector: Projector = projector, budget: Budget = budget, weight: Tensor = weight, work: Tensor = work
            ) -> list[Tensor]:
                work.copy_(weight)
                projector([budget])
                return [work]

            def plain(budget: Budget = budget, weight: Tensor = weight) -> list[Tensor]:
                return [stable_sort(weight, budget) if budget.alive else topk_and_mask(weight, budget.keep)]

            name = f"projection {rows} x {columns}, keep 1/{one_in}" + (f", {alive} alive" if alive else "")
            yield Pair(name, plain, ours, 0.0)


def topk_and_scatter(x: Tensor, k: int) -> Tensor:
    """AbsTopK as it is mostly written."""
    kept = x.abs().topk(k, dim=-1).indices
    return torch.zeros_like(x).scatter(-1, kept, x.gather(-1, kept))


def activations() -> Iterator[Pair]:
    """A batch of tokens, forwards and backwards; no two magnitudes of a token are equal."""
    for tokens, width in ((4096, 1024), (8192, 256), (8192, 64)):
        x = (torch.rand(tokens, width).argsort(-1) + 1) * torch.randn(tokens, width).sign()
        x, grad = x.requires_grad_(), torch.randn(tokens, width)

        def both(function: Callable[[Tensor, int], Tensor], x: Tensor = x, grad: Tensor = grad) -> list[Tensor]:
            out = function(x, x.shape[1] // 4)
            return [out.detach(), *torch.autograd.grad(out, x, grad)]

        name = f"AbsTopK {tokens} x {width}, keep 1/4, with gradient"
        yield Pair(name, lambda both=both: both(topk_and_scatter), lambda both=both: both(abs_topk), 0.0)


def attentions() -> Iterator[Pair]:
    """Batches of prompts, forwards and backwards."""
    for shape in ((16, 16, 128, 16), (4, 64, 256, 16), (2, 4, 1024, 64)):
        given = [torch.randn(shape, requires_grad=True) for _ in range(3)] + [torch.randn(shape[1], requires_grad=True)]
        grad = torch.randn(shape)

        def both(function: Callable[..., Tensor], given: list[Tensor] = given, grad: Tensor = grad) -> list[Tensor]:
            out = function(*given)
            return [out.detach(), *torch.autograd.grad(out, given, grad)]

        name = f"sink attention {' x '.join(map(str, shape))}, with gradients"
        yield Pair(name, lambda both=both: both(explicit), lambda both=both: both(sink_attention), 1e-3)


def steps() -> Iterator[Pair]:
    """Loss, gradients, optimizer and projection on a batch of 16 prompts, after the anneal."""
    domain = CodeDomain(tokenizer=train_tokenizer(islice(documents("speed"), 500), 768), length=96)
    batch = {
        "input": domain.example(16, torch.Generator().manual_seed(0)),
        "target": torch.randint(2, len(domain.classes), (16,)),
    }

    def trained(density: float, activation: float, width: int, layers: int) -> tuple[SparseTransformer, SparseAdam]:
        torch.manual_seed(0)
        model = SparseTransformer(
            domain,
            width=width,
            layers=layers,
            density=density,
            embedding_density=min(1.0, 2 * density),
            activation_density=activation,
        )
        optimizer = model.configure_optimizers()
        optimizer.schedule = replace(model.schedule(1000), end=0)
        for group in optimizer.param_groups:
            group["lr"] = 0.01
        return model.train(), optimizer

    def step(model: SparseTransformer, optimizer: SparseAdam) -> list[Tensor]:
        optimizer.zero_grad()
        loss = model.losses(*model.step(batch["input"]), batch)["language"]
        loss.backward()
        optimizer.step()
        return [loss.detach()]

    def plain_step(model: SparseTransformer, optimizer: SparseAdam) -> list[Tensor]:
        with (
            patch("zoo.circuits.network.abs_topk", topk_and_scatter),
            patch("zoo.circuits.network.sink_attention", explicit),
            patch.object(optimizer, "projector", partial(by_sorting, optimizer.projector.weights)),
        ):
            return step(model, optimizer)

    for width, layers, one_in in ((128, 2, 16), (256, 4, 64)):
        name = f"training step, width {width}, {layers} layers, 1/{one_in}"
        ours, plain = (trained(1 / one_in, 0.25, width, layers) for _ in range(2))
        twin = trained(1.0, 1.0, width, layers)
        for _ in range(2):  # so that the third losses tell whether two steps did the same
            plain_step(*plain), step(*ours)
        yield Pair(name, partial(plain_step, *plain), partial(step, *ours), 1e-3)
        yield Pair(f"{name}, beside a dense twin's", partial(step, *twin), partial(step, *ours), None)


@torch.no_grad()
def by_sorting(weights: Sequence[Tensor], budgets: Sequence[Budget]) -> None:
    """The projection of all weights of a network, in place."""
    for weight, budget in zip(weights, budgets, strict=True):
        weight.copy_(stable_sort(weight, budget))


def inferences() -> Iterator[Pair]:
    """A linear layer 1024 -> 4096."""
    for one_in in (16, 64, 256, 1000):
        weight, bias = torch.randn(4096, 1024) / 32, torch.randn(4096)
        weight *= torch.rand_like(weight) < 1 / one_in
        csr = to_csr(weight, bias)
        for batch in (1, 256):
            x = torch.randn(batch, 1024)
            yield Pair(
                f"linear 4096 x 1024, 1/{one_in} non-zero, batch {batch}",
                lambda x=x, weight=weight, bias=bias: [F.linear(x, weight, bias)],
                lambda x=x, csr=csr: [csr_linear(x, csr)],
                1e-4,
            )


PARTS = {
    "projections": projections,
    "activations": activations,
    "attentions": attentions,
    "steps": steps,
    "inferences": inferences,
}


def check_equal(pair: Pair) -> None:
    """Refuses to compare the speed of two ways that find different things.

    Raises:
        ArithmeticError: they do.
    """
    for plain, ours in zip(pair.plain(), pair.ours(), strict=True):
        if pair.apart is None:
            continue
        apart = float((plain - ours).abs().max())
        if not apart <= pair.apart:
            raise ArithmeticError(f"{pair.what}: results are up to {apart:.3g} apart, {pair.apart:.3g} is allowed.")


def measure(pair: Pair, repeats: int, clock: Callable[[], float]) -> dict[str, float | str]:
    """The best times in ms."""
    check_equal(pair)
    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        for i, way in enumerate((pair.plain, pair.ours)):
            start = clock()
            way()
            best[i] = min(best[i], (clock() - start) * 1000)
    return {"what": pair.what, "plain_ms": best[0], "ours_ms": best[1], "faster": best[0] / best[1]}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.circuits_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--threads", type=int, default=2, help="of torch; the projection and AbsTopK use one")
    parser.add_argument("--repeats", type=int, default=10, help="runs of each")
    parser.add_argument("--cpu-time", action="store_true", help="count the time on all cores, as on a busy machine")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="what to measure")
    parser.add_argument("--json", type=Path, help="write the results to this file as well")
    options = parser.parse_args()
    if options.threads < 1 or options.repeats < 1:
        parser.error(f"--threads and --repeats must be at least 1; got {options.threads} and {options.repeats}")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    clock = time.process_time if options.cpu_time else time.perf_counter
    kind = "CPU" if options.cpu_time else "wall"
    print(f"{options.threads} threads, best {kind} time of {options.repeats}; equal results")
    print(f"  {'':<52}{'plain':>10}{'ours':>10}{'faster':>9}")
    found = []
    for part in options.only:
        with torch.set_grad_enabled(part in ("activations", "attentions", "steps")):
            for pair in PARTS[part]():
                row = measure(pair, options.repeats, clock)
                found.append(row)
                print(f"  {row['what']:<52}{row['plain_ms']:>7.2f} ms{row['ours_ms']:>7.2f} ms{row['faster']:>8.1f}x")
    if options.json:
        options.json.write_text(
            json.dumps({"threads": options.threads, "cpu_time": options.cpu_time, "rows": found}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
