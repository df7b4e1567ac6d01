"""The inputs in which each unit fires most, found in one pass over files of any number."""

import sys
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from zoo.core.module import SelfInterpretable
from zoo.domain.inputs import Input, read

BATCH = 32


class Strongest(NamedTuple):
    """The n strongest inputs of each of K units.

    Attributes:
        files: those that could be read, in their order.
        activation: (K, n), largest first.
        index: (K, n) numbers of the files.
        unread: files that could not be read.
    """

    files: list[Input]
    activation: Tensor
    index: Tensor
    unread: int


@torch.no_grad()
def strongest(model: SelfInterpretable, files: Iterable[Input], count: int) -> Strongest:
    """Reads files batch by batch and keeps, of each unit, where its activation was largest; ties to the first.

    What cannot be read is told on stderr and left out.

    Raises:
        ValueError: no file could be read.
    """
    model.eval()
    kept: list[Input] = []
    best, index, unread = torch.empty(0), torch.empty(0, dtype=torch.int64), 0
    rest = iter(files)
    for batch in tqdm(iter(lambda: list(islice(rest, BATCH)), []), "batches", leave=False):
        inputs = []
        for file in batch:
            try:
                inputs.append(read(file, model.domain))
                kept.append(file)
            except (OSError, ValueError) as error:
                unread += 1
                print(f"left out {file}: {error}", file=sys.stderr)
        if not inputs:
            continue
        fresh = model.evidence(torch.stack(inputs)).activation.float().T  # (K, B)
        number = torch.arange(len(kept) - len(inputs), len(kept)).expand_as(fresh)
        if len(kept) > len(inputs):
            fresh, number = torch.cat([best, fresh], 1), torch.cat([index, number], 1)
        order = fresh.argsort(dim=1, descending=True, stable=True)[:, :count]
        best, index = fresh.gather(1, order), number.gather(1, order)
    if not kept:
        raise ValueError(f"no {model.domain.noun} could be read ({unread} files were tried).")
    return Strongest(kept, best, index, unread)
