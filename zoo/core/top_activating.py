"""The input files in which each unit fires most, found in one pass over any number of files."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from zoo.core.module import SelfInterpretable
from zoo.core.running_top import TopActivating, running_top
from zoo.domain.inputs import Input, read
from zoo.utils.pieces import Pieces, tensor_of_plain, tensor_to_plain
from zoo.utils.printable import printable
from zoo.utils.progress import track

BATCH = 32
BLOCK = 32 * BATCH  # files of a piece, whose top is kept on the disk


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


def blocks(files: Sequence[Input]) -> int:
    """The number of pieces in which files are searched, for `Pieces`."""
    return -(-len(files) // BLOCK)


def top_activating_inputs(
    model: SelfInterpretable, files: Sequence[Input], count: int, pieces: Pieces | None = None
) -> TopActivatingInputs | None:
    """Reads files batch by batch and keeps, for each unit, those with the largest activations; ties to the first file.

    Files that cannot be read are reported on stderr and left out.

    Args:
        model: whose units fire.
        files: to be read.
        count: n; fewer are returned if there are fewer files.
        pieces: `blocks(files)` pieces that several processes share; None if this one does all.

    Returns:
        None in processes that are not the last to finish.

    Raises:
        ValueError: no file could be read.
    """
    model.eval()
    work = partial(_of_block, model, files, count)
    found = [work(number) for number in range(blocks(files))] if pieces is None else pieces.run(work)
    if found is None:
        return None
    unread = {number for part in found for number in part["unread"]}
    tops = [TopActivating(*map(tensor_of_plain, part["top"])) for part in found if part["top"]]
    if not tops:
        if pieces is not None:
            pieces.clear()
        raise ValueError(f"no {model.domain.noun} could be read ({len(unread)} files were tried).")
    best = tops[0].joined(tops[1:]).best(count)
    kept = [file for number, file in enumerate(files) if number not in unread]
    place = torch.tensor([number not in unread for number in range(len(files))]).cumsum(0) - 1  # among those kept
    return TopActivatingInputs(kept, best.value, place[best.index], len(unread))


@torch.no_grad()
def _of_block(model: SelfInterpretable, files: Sequence[Input], count: int, number: int) -> dict[str, Any]:
    """The top of one block of files, by their numbers among all, and the numbers of those that could not be read."""
    unread: list[int] = []

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        block = range(number * BLOCK, min((number + 1) * BLOCK, len(files)))
        starts = range(block.start, block.stop, BATCH)
        for start in track(starts, "reading inputs", unit="batch", shown=len(files) > BATCH):
            inputs, numbers = [], []
            for n in range(start, min(start + BATCH, block.stop)):
                try:
                    inputs.append(read(files[n], model.domain))
                    numbers.append(n)
                except (OSError, ValueError) as error:
                    unread.append(n)
                    print(f"left out {printable(files[n])}: {printable(error)}", file=sys.stderr)
            if inputs:
                yield model.evidence(torch.stack(inputs)).activation, torch.tensor(numbers)

    best = running_top(batches(), count)
    return {"unread": unread, "top": None if best is None else [tensor_to_plain(t) for t in best.tensors()]}
