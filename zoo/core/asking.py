"""One question about a batch of inputs, as commands and decision records put it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from zoo.core.counterfactual_search import search_counterfactuals
from zoo.core.explanation import Explanation
from zoo.core.module import SelfInterpretable

MOST_CLASSES = 400  # whose contributions are kept with `every_class`


def ask(
    model: SelfInterpretable,
    x: Tensor,
    target: int | None = None,
    versus: int | None = None,
    reference: str | None = None,
    settings: Mapping[str, Any] | None = None,
    every_class: bool = False,
    search: bool = False,
) -> Explanation:
    """The explanation of a batch, checked.

    Args:
        model: that is asked.
        x: inputs as `forward` takes them.
        target: the class to explain; None for the predicted one.
        versus: the class to compare it with; None for none.
        reference: what contributions are relative to; None for the model's own.
        settings: options of the explanation.
        every_class: also the contributions to every class.
        search: also search what would change the answers, if the terms do not say it.

    Raises:
        ValueError, TypeError, RuntimeError: see `SelfInterpretable.explain`.
        ArithmeticError: the contributions do not add up to the scores.
    """
    settings = settings or {}
    told = model.explain(x, target, every_class, reference, **settings)
    if model.additive:
        told.check()
    if versus is not None:
        return told.versus(model.explain(x, versus, **settings))
    return search_counterfactuals(model, told) if search and not settings else told
