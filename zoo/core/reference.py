"""What the score of a class is measured against: nothing, the mean score of all classes, or the runner-up's score.

A softmax does not change if a constant is added to all logits. So of its scores only differences count, and the
contributions to a difference are exact as well: those to the class minus those to what it is compared with.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.utils.errors import did_you_mean

REFERENCES = ("zero", "mean", "runner-up")


def choose(name: str | None, declared: str, comparable: bool, model: str) -> str:
    """The reference of an explanation.

    Args:
        name: what was asked for; None for the model's own.
        declared: the model's own.
        comparable: whether the scores are sums over units, of several classes.
        model: name of its class, for messages.

    Raises:
        ValueError: there is no such reference, or this model has only "zero".
    """
    if (wanted := name or declared) not in REFERENCES:
        raise ValueError(f"no reference named '{wanted}'; {did_you_mean(wanted, REFERENCES)}")
    if not comparable and name not in (None, "zero"):
        raise ValueError(
            f"reference='{name}' requires contributions to the scores of several classes, which {model} does not have "
            "here; use reference='zero'."
        )
    return wanted if comparable else "zero"


def runner_up(scores: Tensor, target: Tensor) -> Tensor:
    """(B,) the class of highest score (B, C) besides the target (B,); of equal ones the first."""
    return scores.scatter(1, target[:, None], -torch.inf).argmax(1)


def relative(values: Tensor, target: Tensor, reference: str, rival: Tensor | None) -> Tensor:
    """(B, ...) values (B, ..., C) of the target (B,) relative to a reference.

    Args:
        values: of all classes, such as scores or contributions.
        target: (B,) classes.
        reference: one of `REFERENCES`.
        rival: (B,) the runner-ups, which only "runner-up" needs.
    """
    own = _of_class(values, target)
    if reference == "runner-up" and rival is not None:
        return own - _of_class(values, rival)
    return own - values.mean(-1) if reference == "mean" else own


def _of_class(values: Tensor, target: Tensor) -> Tensor:
    index = target.view(-1, *[1] * (values.ndim - 1)).expand(*values.shape[:-1], 1)
    return values.gather(-1, index)[..., 0]


def in_words(reference: str, space: str, names: Sequence[str]) -> str:
    """What the contributions add up to, in words.

    Args:
        reference: one of `REFERENCES`.
        space: what a score is, such as "logit".
        names: of the target and of its runner-up.
    """
    if reference == "mean":
        return f"score of {names[0]} minus the mean score of all classes"
    return f"margin of {names[0]} over {names[1]}" if reference == "runner-up" else f"{space} of {names[0]}"
