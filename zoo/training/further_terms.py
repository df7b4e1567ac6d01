"""Loss terms that a recipe adds to those of any model."""

from typing import Any, Protocol

from lightning import Trainer
from torch import Tensor, nn

from zoo.domain import Domain
from zoo.training.batch import Batch
from zoo.training.distillation import DistillationTerm, copy_weights
from zoo.training.recipe import Recipe
from zoo.training.removal import RemovalTerm


class FurtherTerm(Protocol):
    """Gives loss terms, already weighted, by name."""

    def __call__(self, model: Any, batch: Batch, scores: Tensor) -> dict[str, Tensor]:
        """The terms of a batch, from the model that trains and its scores (B, C) of the batch."""
        ...


def further_terms(recipe: Recipe, domain: Domain, model: nn.Module, trainer: Trainer) -> tuple[FurtherTerm, ...]:
    """The terms of a recipe, checked before anything is trained.

    Args:
        recipe: of the model.
        domain: of the model.
        model: a `zoo.core.SelfInterpretable`, or another network.
        trainer: of the fit.

    Raises:
        FileNotFoundError, ValueError: see `RemovalTerm` and `DistillationTerm`; or the batches hold no inputs.
    """
    removal, teacher = recipe.removal, recipe.teacher
    teaches = teacher is not None and teacher.weight > 0  # else it only gives its weights
    if (removal is not None or teaches) and getattr(getattr(trainer, "datamodule", None), "caches_features", False):
        raise ValueError(
            "removal and teacher need inputs, and cache_features keeps features; leave cache_features out, or give "
            "a teacher that only gives its weights the weight 0."
        )
    terms: list[FurtherTerm] = []
    if removal is not None:
        terms.append(RemovalTerm(removal, domain, getattr(model, "additive", False), type(model).__name__))
    if teacher is not None:
        teaching = DistillationTerm(teacher, domain)
        if teacher.start:  # a resumed fit then reads its own weights
            copy_weights(teaching.network, model)
        if teaches:
            terms.append(teaching)
    return tuple(terms)
