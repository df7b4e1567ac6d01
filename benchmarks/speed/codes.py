"""Sparse codes: a training step beside SAELens, and memory by the number of feature vectors.

A step is forward pass, losses, gradients and Adam on 4,096 vectors (the default of SAELens), of d channels, m atoms and
k active ones, from the same weights; CPU time of the process. SAELens is measured with its dense and, of TopK, its
sparse form of the codes (which leaves out the lengths of atoms), without what its trainer adds (gradient clipping,
counts of activity). It is optional: `pip install sae-lens`. Memory is that of `zoo.concepts.fit_dictionary` on files of
vectors of 64 channels in half precision: a pass for mean, scale and archetypes, and 50 steps. Up to 64 MiB of vectors
are shuffled together, more than the smallest file has.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Case, Goal, Reading, exponent, peak_memory
from zoo.concepts.layers.code_kinds import make_dictionary
from zoo.concepts.layers.fit_dictionary import fit_dictionary
from zoo.concepts.layers.sparse_codes import CodeOptions, Dictionary

ROWS, LR = 4096, 1e-4
SIZES = ((128, 512, 8), (384, 3072, 32), (1280, 4096, 32))  # d, m, k
KINDS = {"topk": "TopK", "batch_topk": "BatchTopK"}
MISSED = "both select the largest of all scores of the batch, which takes much of the time of a small step"
COUNTS, CHANNELS, REPEATED = (100_000, 1_000_000, 10_000_000), 64, 50_000


def cases(device: torch.device) -> Iterator[Case | Reading]:
    yield from memory(device)
    if find_spec("sae_lens") is None:
        print("codes: SAELens is not installed, so the steps are not compared: pip install sae-lens", file=sys.stderr)
        return
    for kind, title in KINDS.items():
        for channels, atoms, active in SIZES:
            x = torch.randn(ROWS, channels, device=device)
            options = CodeOptions(kind=kind, atoms=atoms, active=active)  # pyright: ignore[reportArgumentType]
            code = make_dictionary(channels, options).to(device).train()
            ways = {"zoo": our_step(code, x), "SAELens": their_step(code, x, title)}
            if kind == "topk":  # the only kind with a sparse form
                ways["SAELens, sparse"] = their_step(code, x, title, sparse=True)
            what = f"training step of {title}, d {channels:,}, m {atoms:,}, k {active}"
            goal = Goal(at_least=1.5)
            yield Case(what, ways, cpu=True, apart=1e-3, memory=False, goal=goal, missed=MISSED)


def our_step(code: Dictionary, x: Tensor) -> Callable[[], Tensor]:
    """A step, which returns the reconstruction error before it."""
    optimizer = torch.optim.Adam(code.parameters(), LR)

    def step() -> Tensor:
        optimizer.zero_grad()
        coded = code(x)
        error = coded.error.mean()
        (error + coded.auxiliary / 32).backward()
        optimizer.step()
        return error.detach()

    return step


def their_step(code: Dictionary, x: Tensor, title: str, sparse: bool = False) -> Callable[[], Tensor]:
    """The same step of SAELens, from the same weights."""
    os.environ.setdefault("WANDB_MODE", "disabled")
    import sae_lens
    from sae_lens.saes.sae import TrainStepInput

    atoms, channels = code.weight.shape
    # With rescaled scores, the sparse form has no gradient on a CPU.
    options: dict[str, Any] = {"use_sparse_activations": True, "rescale_acts_by_decoder_norm": False} if sparse else {}
    config = getattr(sae_lens, f"{title}TrainingSAEConfig")(
        d_in=channels, d_sae=atoms, k=code.options.active, device=str(x.device), **options
    )
    sae = getattr(sae_lens, f"{title}TrainingSAE")(config)
    with torch.no_grad():
        sae.W_dec.copy_(code.atoms)
        sae.W_enc.copy_(code.encoder.weight.T)
        sae.b_enc.zero_()
        sae.b_dec.zero_()
    sae.train()
    optimizer = torch.optim.Adam(sae.parameters(), LR)
    given = TrainStepInput(
        sae_in=x,
        coefficients={},
        dead_neuron_mask=torch.zeros(atoms, dtype=torch.bool, device=x.device),
        n_training_steps=0,
        is_logging_step=False,
    )

    def step() -> Tensor:
        optimizer.zero_grad()
        found = sae.training_forward_pass(given)
        found.loss.backward()
        optimizer.step()
        return found.losses["mse_loss"].detach()

    return step


def memory(device: torch.device) -> Iterator[Reading]:
    """The peak for each number of vectors, and how it grows."""
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            file = write_vectors(Path(folder) / "vectors.npy", count)
            options = {"kind": "batch_topk", "atoms": 256, "active": 8, "archetypes": 64}
            found = peak_memory(lambda f=file, o=options: fit_dictionary(f, o, steps=50, device=device), device)
            if found is None:
                return
            peaks.append(found)
            size = file.stat().st_size / 2**20
            yield Reading(f"peak memory, {count:,} vectors in a file of {size:,.0f} MiB", found, "MiB")
    what = f"exponent of memory by vectors ({COUNTS[0]:,} to {COUNTS[-1]:,})"
    yield Reading(what, exponent(COUNTS, peaks), goal=Goal(at_most=0.1))


def write_vectors(path: Path, count: int) -> Path:
    """A .npy file of random vectors (count, CHANNELS), of which `REPEATED` differ."""
    some = np.random.default_rng(0).standard_normal((REPEATED, CHANNELS), np.float32).astype(np.float16)
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(some.dtype), "fortran_order": False, "shape": (count, CHANNELS)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, REPEATED):
            some[: count - start].tofile(file)
    return path
