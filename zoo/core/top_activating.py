"""The input files in which each unit fires most, found in one pass over any number of files."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from zoo.core.module import SelfInterpretable
from zoo.core.running_top import running_top
from zoo.domain.inputs import Input, read
from zoo.utils.printable import printable
from zoo.utils.progress import track

BATCH = 32


@dataclass(frozen=True)
class TopActivatingInputs:
    """The n inputs in which each of K units fires most.

    Attributes:
        files: those that were read, in their order.
        activation: (K, n), largest first.
        index: (K, n) numbers of the files.
        unread: number of files that could not be read.
    """

    files: list[Input]
    activation: Tensor
    index: Tensor
    unread: int


@torch.no_grad()
def top_activating_inputs(model: SelfInterpretable, files: Iterable[Input], count: int) -> TopActivatingInputs:
    """Reads files batch by batch and keeps, for each unit, those with the largest activations; ties to the first file.

    Files that cannot be read are reported on stderr and left out.

    Raises:
        ValueError: no file could be read.
    """
    model.eval()
    kept: list[Input] = []
    unread = 0

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal unread
        rest = iter(files)
        for batch in track(iter(lambda: list(islice(rest, BATCH)), []), "reading inputs", unit="batch"):
            inputs = []
            for file in batch:
                try:
                    inputs.append(read(file, model.domain))
                    kept.append(file)
                except (OSError, ValueError) as error:
                    unread += 1
                    print(f"left out {printable(file)}: {printable(error)}", file=sys.stderr)
            if inputs:
                activation = model.evidence(torch.stack(inputs)).activation
                yield activation, torch.arange(len(kept) - len(inputs), len(kept))

    best = running_top(batches(), count)
    if best is None:
        raise ValueError(f"no {model.domain.noun} could be read ({unread} files were tried).")
    return TopActivatingInputs(kept, best.value, best.index, unread)
