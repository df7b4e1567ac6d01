"""Golden explanations: what a model gave for a few inputs when it was saved."""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.core.module import SelfInterpretable
from zoo.domain import ImageDomain

MOST_TIMES = 8  # bounds what a checkpoint can make its reader allocate
TERMS = ("scores", "contributions", "bias", "activation")


def golden_inputs(model: SelfInterpretable, inputs: Tensor) -> Tensor:
    """Golden inputs as the model takes them: images stored as uint8 pixels are enlarged (`times`) and normalised."""
    if inputs.dtype == torch.uint8 and isinstance(model.domain, ImageDomain):
        factor = times(inputs.shape[1:], model.domain.shape) or 1
        return model.domain.normalise(inputs.repeat_interleave(factor, -2).repeat_interleave(factor, -1))
    return inputs


def times(stored: Sequence[int], shape: Sequence[int]) -> int | None:
    """How many times a stored image (C, h, w) must be enlarged to have the shape (C, H, W); None if that is impossible.

    Checkpoints of large images store small ones: verification needs an input, not its details.
    """
    if len(stored) != 3 or stored[0] != shape[0] or min(stored) < 1:
        return None
    factor = shape[1] // stored[1]
    return (
        factor if 1 <= factor <= MOST_TIMES and (stored[1] * factor, stored[2] * factor) == tuple(shape[1:]) else None
    )


def golden_terms(model: SelfInterpretable, inputs: Tensor) -> dict[str, Tensor]:
    """Scores and, of additive models, contributions and bias of the score itself, and the activations, on the CPU.

    Raises:
        ArithmeticError: contributions and bias do not add up to the scores.
    """
    explanation = model.explain(golden_inputs(model, inputs).to(model.device), reference="zero")
    if explanation.contributions is not None:
        explanation.check()
    named = {name: getattr(explanation, name) for name in TERMS}
    # Copies, because a readout may return its input, and safetensors refuses shared memory.
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in named.items() if tensor is not None}
