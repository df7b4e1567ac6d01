"""The operations of weight-sparse transformers, compared with their plain formulations.

Projection of weights after a step, AbsTopK with its gradient, sink attention with its gradients, training steps, also
compared with those of a dense transformer, predictions, and inference with sparse matrices. Plain: the usual
formulation, by torch's topk, scatter, sort, softmax and dense products. AbsTopK on the CPU is compiled if numba is
installed (extra `fast`), and then also compared with its selection by numpy.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import Case, Goal
from zoo.circuits.kernels import topk
from zoo.circuits.kernels.csr import csr_linear, to_csr
from zoo.circuits.kernels.topk import abs_topk
from zoo.circuits.network.attention import explicit, sink_attention
from zoo.circuits.network.optimizer import SparseAdam
from zoo.circuits.network.options import Sparsity
from zoo.circuits.network.weight_projection import Budget, Projector
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.data.base.tokenized import train_tokenizer
from zoo.data.synthetic.idioms import documents
from zoo.domain import CodeDomain

SELECTION = (
    "AbsTopK, which a dense network does not use, selects among 11 d values of each token and layer and writes "
    "them and their masks to fresh memory"
)


def topk_and_mask(weight: Tensor, keep: int) -> Tensor:
    """The projection in its usual formulation."""
    kept = weight.abs().flatten().topk(keep).indices
    return weight * torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device).index_fill_(
        0, kept, True
    ).view_as(weight)


def stable_sort(weight: Tensor, budget: Budget) -> Tensor:
    """The projection by sorting, with a minimum per neuron and ties by index."""
    size, other = weight.abs(), 1 - budget.axis
    if budget.alive:
        size.scatter_(other, size.topk(budget.alive, dim=other).indices, torch.inf)
    out, order = weight.clone(), size.flatten().sort(descending=True, stable=True).indices
    out.view(-1)[order[budget.keep :]] = 0
    return out


@torch.no_grad()
def projections(device: torch.device) -> Iterator[Case]:
    """Matrices without ties, so that all ways keep the same entries; the time of ours includes a copy."""
    for rows, columns, one_in in ((4096, 1024, 4), (4096, 1024, 64), (4096, 1024, 1000), (8192, 2048, 64)):
        size = rows * columns
        weight = (torch.randperm(size) + 1).float().view(rows, columns) * torch.randn(rows, columns).sign()
        weight = weight.to(device)
        alives = (0, 4) if one_in <= 64 else (0,)  # 4 in each of 4096 rows exceed 1 in 1000
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
            yield Case(name, {"zoo": ours, "plain": plain}, apart=0.0)


def topk_and_scatter(x: Tensor, k: int, parts: int = 1, overwrite: bool = False) -> Tensor:
    """AbsTopK in its usual formulation; it overwrites nothing."""
    vectors = x.unflatten(-1, (parts, -1))
    kept = vectors.abs().topk(k, dim=-1).indices
    return torch.zeros_like(vectors).scatter(-1, kept, vectors.gather(-1, kept)).flatten(-2)


def activations(device: torch.device) -> Iterator[Case]:
    """A batch of tokens, forward and backward; no two magnitudes of a token are equal."""
    for tokens, width in ((4096, 1024), (8192, 256), (8192, 64)):
        x = (torch.rand(tokens, width).argsort(-1) + 1) * torch.randn(tokens, width).sign()
        x, grad = x.to(device).requires_grad_(), torch.randn(tokens, width, device=device)

        def both(function: Callable[[Tensor, int], Tensor], x: Tensor = x, grad: Tensor = grad) -> list[Tensor]:
            out = function(x, x.shape[1] // 4)
            return [out.detach(), *torch.autograd.grad(out, x, grad)]

        name = f"AbsTopK {tokens} x {width}, keep 1/4, with gradient"
        ways = {"zoo": partial(both, abs_topk), "plain": partial(both, topk_and_scatter)}
        if device.type == "cpu" and topk.use_compiled():
            ways["numpy"] = partial(uncompiled, ways["zoo"])
        yield Case(name, ways, apart=0.0)


def uncompiled(way: Callable[[], list[Tensor]]) -> list[Tensor]:
    """Calls a method without the compiled kernels of AbsTopK."""
    with patch.object(topk, "PATIENCE", math.inf):
        return way()


def attentions(device: torch.device) -> Iterator[Case]:
    """Batches of prompts, forward and backward."""
    for shape in ((16, 16, 128, 16), (4, 64, 256, 16), (2, 4, 1024, 64)):
        sizes = [shape, shape, shape, shape[1:2]]
        given = [torch.randn(size, device=device, requires_grad=True) for size in sizes]
        grad = torch.randn(shape, device=device)

        def both(function: Callable[..., Tensor], given: list[Tensor] = given, grad: Tensor = grad) -> list[Tensor]:
            out = function(*given)
            return [out.detach(), *torch.autograd.grad(out, given, grad)]

        name = f"sink attention {' x '.join(map(str, shape))}, with gradients"
        yield Case(name, {"zoo": partial(both, sink_attention), "plain": partial(both, explicit)}, apart=1e-3)


def code_domain() -> CodeDomain:
    """Prompts of 96 tokens."""
    return CodeDomain(tokenizer=train_tokenizer(islice(documents("speed"), 500), 768), length=96)


def transformer(domain: CodeDomain, density: float, activation: float, width: int, layers: int) -> SparseTransformer:
    """A transformer with dense initial weights, whose training has these densities."""
    torch.manual_seed(0)
    sparsity = Sparsity(density, embedding_density=min(1.0, 2 * density), activation_density=activation)
    return SparseTransformer(domain, width=width, layers=layers, sparsity=sparsity)


def steps(device: torch.device) -> Iterator[Case]:
    """Loss, gradients, optimizer and projection on a batch of 16 prompts, after the anneal."""
    domain = code_domain()
    size = 64 if device.type == "cuda" else 16
    batch = {
        "input": domain.example(size, torch.Generator().manual_seed(0)).to(device),
        "target": torch.randint(2, len(domain.classes), (size,), device=device),
    }

    def trained(density: float, activation: float, width: int, layers: int) -> tuple[SparseTransformer, SparseAdam]:
        model = transformer(domain, density, activation, width, layers).to(device)
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
            patch("zoo.circuits.network.trace.abs_topk", topk_and_scatter),
            patch("zoo.circuits.network.transformer.sink_attention", explicit),
            patch.object(optimizer, "projector", partial(by_sorting, optimizer.projector.weights)),
        ):
            return step(model, optimizer)

    sizes = ((512, 8, 64),) if device.type == "cuda" else ((128, 2, 16), (256, 4, 64))
    for width, layers, one_in in sizes:
        name = f"training step, width {width}, {layers} layers, 1/{one_in}"
        ours, plain = (trained(1 / one_in, 0.25, width, layers) for _ in range(2))
        dense = trained(1.0, 1.0, width, layers)
        for _ in range(2):  # the third losses show whether two steps were equal
            plain_step(*plain), step(*ours)
        ways = {"zoo": partial(step, *ours), "plain": partial(plain_step, *plain)}
        yield Case(name, ways, apart=1e-3, memory=False)
        ways = {"zoo": partial(step, *ours), "dense transformer": partial(step, *dense)}
        most = 1.15 if device.type == "cuda" else 1.3
        yield Case(name, ways, cost=True, goal=Goal(at_most=most), apart=None, memory=False, missed=SELECTION)


def predictions(device: torch.device) -> Iterator[Case]:
    """Scores of prompts by a sparse transformer and by a dense one of the same size."""
    domain = code_domain()
    models = {}
    for name, density, activation in (("zoo", 1 / 16, 0.25), ("dense transformer", 1.0, 1.0)):
        model = models[name] = transformer(domain, density, activation, 128, 2).to(device).eval()
        sparse, densities = model.sparse_parameters(), (model.density, model.embedding_density)
        Projector([one.weight for one in sparse])([one.budget(densities) for one in sparse])
    for size in (1, 64):
        prompts = domain.example(size, torch.Generator().manual_seed(0)).to(device)
        yield Case(
            f"prediction, width 128, 2 layers, 1/16, batch {size}",
            {name: partial(predict, model, prompts) for name, model in models.items()},
            cost=True,
            goal=Goal(at_most=1.5),
            apart=None,
            memory=False,
            missed=SELECTION,
        )


@torch.no_grad()
def predict(model: SparseTransformer, prompts: Tensor) -> Tensor:
    return model(prompts)


@torch.no_grad()
def by_sorting(weights: Sequence[Tensor], budgets: Sequence[Budget]) -> None:
    """The projection of all weights of a network, in place."""
    for weight, budget in zip(weights, budgets, strict=True):
        weight.copy_(stable_sort(weight, budget))


@torch.no_grad()
def inferences() -> Iterator[Case]:
    """A linear layer 1024 -> 4096, on the CPU. CSR should be faster at 1 % of non-zeros and below."""
    for one_in in (16, 64, 256, 1000):
        weight, bias = torch.randn(4096, 1024) / 32, torch.randn(4096)
        weight *= torch.rand_like(weight) < 1 / one_in
        csr = to_csr(weight, bias)
        for batch in (1, 256):
            x = torch.randn(batch, 1024)
            yield Case(
                f"linear 4096 x 1024, 1/{one_in} non-zero, batch {batch}",
                {"zoo": partial(csr_linear, x, csr), "dense": partial(F.linear, x, weight, bias)},
                goal=Goal(at_least=1) if one_in > 100 else None,
            )


def cases(device: torch.device) -> Iterator[Case]:
    if device.type == "cpu":
        topk.use_compiled()  # otherwise numba would start in the middle of a measurement
    yield from projections(device)
    yield from activations(device)
    yield from attentions(device)
    yield from steps(device)
    yield from predictions(device)
    if device.type == "cpu":
        yield from inferences()
