"""Trains a dictionary on feature vectors from a file, without a network and with bounded memory."""

from collections.abc import Callable, Mapping
from math import cos, pi
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.concepts.layers.code_kinds import make_dictionary
from zoo.concepts.layers.code_recipe import COEFFICIENTS, SPARSITY
from zoo.concepts.layers.dictionary_start import measure
from zoo.concepts.layers.row_files import RowFile
from zoo.concepts.layers.sparse_codes import CodeOptions, Dictionary
from zoo.training.seeding import seeded
from zoo.utils.checks import check_above, check_at_least
from zoo.utils.options import parse_options


def fit_dictionary(
    rows: str | Path | Tensor,
    code: CodeOptions | Mapping[str, Any] | None = None,
    *,
    steps: int = 2000,
    batch: int = 1024,
    lr: float = 3e-3,
    sparsity: float | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    report: Callable[[int, float], None] | None = None,
) -> Dictionary:
    """Trains a dictionary; one pass measures mean and scale, the steps read shuffled blocks.

    Memory does not grow with the number of vectors. `write_dictionary` writes the result in the layout of SAELens,
    and `code: {source: FOLDER}` of `SparseCode` starts from that. Adam, with a cosine of the learning rate to 0.

    Args:
        rows: feature vectors (N, d): a .npy file of float16 or float32, or a tensor.
        code: see `CodeOptions`.
        steps: of training.
        batch: vectors for each step.
        lr: first learning rate.
        sparsity: weight of the penalty of "vanilla" and "jumprelu"; None for that of the default recipe.
        seed: of the initial weights and the order.
        device: where to train.
        report: called with the step, from 1, and the mean relative squared error of its batch.

    Returns:
        The dictionary, in evaluation mode.

    Raises:
        FileNotFoundError, ValueError: the file is missing or holds something else, or an option does not fit.
    """
    options = parse_options(CodeOptions, code, "code")
    check_at_least(1, steps=steps, batch=batch)
    check_above(0, lr=lr)
    if options.source is not None:
        raise ValueError("fit_dictionary trains a new dictionary; leave source out.")
    file = RowFile(rows)
    with seeded(seed):
        made = make_dictionary(file.channels, options).to(device)
    measure(made, file.blocks())
    weights = COEFFICIENTS | {"sparsity": SPARSITY.get(options.kind, 0.0) if sparsity is None else sparsity}
    optimizer = torch.optim.Adam(made.parameters(), lr)
    order = file.shuffled(batch, torch.Generator().manual_seed(seed))
    made.train()
    with torch.enable_grad():
        for step in range(1, steps + 1):
            optimizer.param_groups[0]["lr"] = lr * (1 + cos(pi * (step - 1) / steps)) / 2
            coded = made(next(order).to(device))
            losses = [weights[name] * getattr(coded, key).mean() for name, key in made.terms.items()]
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()
            if report is not None:
                report(step, coded.error.mean().item())
    return made.eval()
