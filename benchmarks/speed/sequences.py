"""Sequences: scans of recurrences against loops, a training step against a transformer's, and growth with the length.

The loop takes one step after the other, with views of each step made beforehand; both sides compute the output of all
steps and, in training, the gradients. The transformer is one pre-norm block of the same width with a mean and a linear
head (`TextTransformer`); `zoo` is one block with as many numbers in a token vector, and has the terms of all words too.
"""

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import zoo
from benchmarks.harness import Case, Goal, Reading, exponent, training_step
from zoo.domain import SeriesDomain, TextDomain
from zoo.sequences.layers.scan import linear_scan, selective_scan
from zoo.training.black_box import BlackBox

STEPS, WIDTH, CHANNELS, STATES = 512, 64, 128, 16
BLOCKS = ("s6", "ssd", "rg_lru", "rwkv")
LENGTHS = (512, 1024, 2048, 4096, 8192)
BUSY = "one step is enough work to keep a core busy, so a loop wastes little; what is left are passes over the states"
SLOWER = {
    "s6": "16 numbers of state for each of 128 channels, each with a decay of its own, take about twenty passes over "
    "8 million numbers in memory; the block ssd has one decay for each head, and is a few matrix products",
    "ssd": "it has twice as many channels as the transformer, and as many passes over them for gates and convolution",
    "rg_lru": "it has twice as many channels as the transformer, and its gates take many passes over them in memory",
}


def cases(device: torch.device) -> Iterator[Case | Reading]:
    for rows in (1, 16):
        yield scan_case(f"linear scan, {STEPS} steps of {CHANNELS} channels, {rows} rows", rows, False, device)
        yield scan_case(f"S6, {STEPS} steps of {CHANNELS} x {STATES} numbers of state, {rows} rows", rows, True, device)
    domain = TextDomain(classes=("a", "b"), vocabulary=tuple(f"w{i}" for i in range(1000)), length=STEPS)
    x = domain.example(8, torch.Generator().manual_seed(0)).to(device)
    batch = {"input": x, "target": torch.arange(8, device=device) % 2}
    other = {"name": "transformer", "width": WIDTH, "layers": 1, "heads": 4, "dropout": 0.0}
    twin = training_step(BlackBox(domain, other).to(device), batch)
    for name in (*BLOCKS, "linformer"):
        options = {"width": WIDTH} if name == "linformer" else {"width": WIDTH, "block": name}
        model = zoo.create_model("linformer" if name == "linformer" else "linear_recurrent", domain=domain, **options)
        yield Case(
            f"training step, 8 texts of {STEPS} words, width {WIDTH}, {name}",
            {"zoo": training_step(model.to(device), batch), "transformer": twin},
            cost=True,
            goal=Goal(at_most=1.3),
            apart=None,
            missed=SLOWER.get(name, ""),
            cpu=device.type == "cpu",
        )
    for name in (*BLOCKS, "linformer"):
        yield growth(name, device)


def scan_case(what: str, rows: int, selective: bool, device: torch.device) -> Case:
    """A scan and its gradients, beside the loop."""
    shapes = [(STEPS, rows, CHANNELS)] * 2
    if selective:
        shapes += [(CHANNELS, STATES), (STEPS, rows, STATES), (STEPS, rows, STATES)]
    generator = torch.Generator().manual_seed(0)
    given = [torch.rand(shape, generator=generator).to(device) for shape in shapes]
    if selective:
        given[2] = -given[2]
    ways = (selective_scan, selective_loop) if selective else (linear_scan, linear_loop)
    return Case(
        f"{what}, with gradients",
        {"zoo": gradients(ways[0], given), "loop": gradients(ways[1], given)},
        goal=Goal(at_least=10),
        missed=BUSY,
        cpu=device.type == "cpu",
    )


def gradients(way: Callable[..., Tensor], given: list[Tensor]) -> Callable[[], list[Tensor]]:
    """The output of a recurrence and its gradients."""

    def run() -> list[Tensor]:
        inputs = [value.requires_grad_() for value in given]
        found = way(*inputs)
        return [found, *torch.autograd.grad(found.square().sum(), inputs)]

    return run


def linear_loop(decay: Tensor, write: Tensor) -> Tensor:
    """The states of `linear_scan`, one step after the other."""
    state, found = torch.zeros_like(write[0]), []
    for d, w in zip(decay.unbind(), write.unbind(), strict=True):
        state = d * state + w
        found.append(state)
    return torch.stack(found)


def selective_loop(x: Tensor, step: Tensor, rate: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """The output of `selective_scan`, one step after the other."""
    decay = torch.exp(step[..., None] * rate)
    written = x[..., None] * write[:, :, None]
    state, found = torch.zeros_like(written[0]), []
    for d, w, c in zip(decay.unbind(), written.unbind(), read.unbind(), strict=True):
        state = d * state + w
        found.append(torch.einsum("ben,bn->be", state, c))
    return torch.stack(found)


def growth(name: str, device: torch.device) -> Reading:
    """How the time of an explanation grows with the length of a series."""
    spent = []
    for length in LENGTHS:
        domain = SeriesDomain(classes=("a", "b"), variables=("v",), length=length)
        key = "linformer" if name == "linformer" else "linear_recurrent"
        options = {"width": WIDTH} if name == "linformer" else {"width": WIDTH, "block": name}
        model = zoo.create_model(key, domain=domain, elements={"patch": length // 64}, **options).to(device).eval()
        spent.append(seconds(model.explain, torch.randn(1, length, 1, device=device)))
    return Reading(
        f"exponent of the time of an explanation by length ({LENGTHS[0]} to {LENGTHS[-1]:,} steps), {name}",
        exponent(LENGTHS, spent),
        goal=Goal(at_most=1.1),
    )


def seconds(call: Callable[[Tensor], object], x: Tensor, times: int = 5) -> float:
    """CPU seconds of the fastest of some calls, or clock seconds on an accelerator."""
    clock = time.process_time if x.device.type == "cpu" else time.perf_counter
    call(x)
    found = []
    for _ in range(times):
        start = clock()
        call(x)
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)
        found.append(clock() - start)
    return min(found)
