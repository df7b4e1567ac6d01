"""Models whose weights are rounded as a checkpoint stores them, see `zoo.utils.small_tensors`."""

from collections.abc import Collection
from copy import deepcopy
from pathlib import Path

from zoo.core.module import SelfInterpretable
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.utils import sparse_tensors
from zoo.utils.small_tensors import FULL, as_needed, restore, store


def rounded_model(model: SelfInterpretable, form: str, exact: Collection[str] = ()) -> SelfInterpretable:
    """A copy of a model with the weights that it has after it is stored and loaded; the same model for "float32".

    Args:
        model: stays as it is.
        form: one of `zoo.utils.small_tensors.FORMS`.
        exact: names of tensors that stay as they are.
    """
    if form == FULL:
        return model
    state, trainer = model.state_dict(), getattr(model, "_trainer", None)
    own = {name: tensor.detach().cpu() for name, tensor in state.items()}
    stored = store(own, weights_of(model) - set(exact), form)
    shapes = {name: tensor.shape for name, tensor in state.items()}
    copied = deepcopy(model, {id(trainer): None, id(model.domain): model.domain})
    restored = sparse_tensors.unpack(restore(stored), shapes, Path(type(model).__name__))
    copied.load_state_dict(as_needed(restored, {name: tensor.dtype for name, tensor in state.items()}))
    return copied


def weights_of(model: SelfInterpretable) -> set[str]:
    """Names of the parameters of a model, in its state_dict, with those of text encoders that cannot learn."""
    found = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for prefix, module in model.named_modules():
        if isinstance(module, HuggingFaceText):
            found |= {f"{prefix}.{name}" for name in module.fixed_names}
    return found
