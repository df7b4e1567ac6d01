"""Golden explanations: what a model gave for a few inputs when it was saved."""

import torch
from torch import Tensor

from zoo.core.module import SelfInterpretable
from zoo.domain import ImageDomain

TERMS = ("scores", "contributions", "bias", "activation")


def golden_inputs(model: SelfInterpretable, inputs: Tensor) -> Tensor:
    """Golden inputs as the model takes them: images stored as uint8 pixels are normalised."""
    if inputs.dtype == torch.uint8 and isinstance(model.domain, ImageDomain):
        return model.domain.normalise(inputs)
    return inputs


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
