"""A loaded model on another device, or computing in another precision, whose explanations still add up."""

import warnings
from pathlib import Path

import torch
from torch import Tensor

from zoo.checkpoints.config_file import GOLDEN
from zoo.checkpoints.golden import golden_inputs
from zoo.checkpoints.tensor_files import read_tensors
from zoo.core.explanation import Explanation
from zoo.core.module import SelfInterpretable
from zoo.utils.errors import short

TYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.float64)}
REMEDY = "Use float32, or torch.autocast around `explain`, which runs the readout in float32."
HALVES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float16, torch.bfloat16)}


def dtype_of(given: str | torch.dtype) -> torch.dtype:
    """A type that a model can compute in.

    Raises:
        ValueError: another type.
    """
    found = (TYPES | HALVES).get(str(given).removeprefix("torch."))
    if found is None:
        raise ValueError(f"a model computes in {', '.join(TYPES | HALVES)}; got dtype={given!r:.40}.")
    return found


def device_of(given: str | torch.device) -> torch.device:
    """A device that is there.

    Raises:
        ValueError: there is no such device on this machine.
    """
    try:
        device = torch.device(given)
        torch.empty(1, device=device).add_(1).item()
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:  # as the backend says it
        here = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise ValueError(
            f"device={str(given)!r:.40} is not available ({short(str(error))}); here are: {here}."
        ) from None
    return device


def convert(model: SelfInterpretable, given: str | torch.dtype, folder: Path) -> SelfInterpretable:
    """Makes a model compute in another precision, and explains the golden inputs of its checkpoint with it.

    Args:
        model: as it was loaded, on the CPU.
        given: float64, for the most exact sums; or float16 or bfloat16, of which a warning tells the differences.
        folder: of the checkpoint.

    Raises:
        ValueError: no such type; or the model has parts in float32, or its contributions would not add up to its
            scores, or these would not be finite.
    """
    if (dtype := dtype_of(given)) == torch.float32:
        return model
    name, wanted = f"{type(model).__name__} of {folder}", str(dtype).removeprefix("torch.")
    inputs = golden_inputs(model, read_tensors(folder / GOLDEN)["inputs"])
    before = model.explain(inputs, reference="zero")
    try:
        after = model.to(dtype).explain(inputs, before.target, reference="zero")
    except (RuntimeError, ArithmeticError, TypeError) as error:
        raise ValueError(
            f"{name} cannot compute in {wanted} ({short(str(error))}). {REMEDY if wanted in HALVES else ''}".rstrip()
        ) from error
    gap = completeness(after, f"{name} in {wanted}")
    if wanted in HALVES:
        moved = float((after.scores.double() - before.scores.double()).abs().max())
        told = "" if gap is None else f"; contributions miss the scores by at most {gap:.2g}"
        warnings.warn(
            f"{name} computes in {wanted}: on its golden inputs, scores differ by up to {moved:.2g} from those in "
            f"float32{told}.",
            stacklevel=3,
        )
    elif after.scores.dtype != dtype:
        raise ValueError(f"{name} cannot compute in {wanted}: it has parts in {after.scores.dtype}.")
    return model


def completeness(told: Explanation, what: str) -> float | None:
    """The largest gap between a score and the sum of its terms; None if there are no contributions.

    Raises:
        ValueError: it is too large.
    """
    if told.contributions is None:
        return None
    gap: Tensor = told.gap()
    try:
        told.check()
    except ArithmeticError as error:
        raise ValueError(
            f"{what} is refused: contributions miss the scores of the golden inputs by {float(gap.max()):.3g} "
            f"({error}) {REMEDY}"
        ) from error
    return float(gap.max())
