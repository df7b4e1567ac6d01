"""Loss terms that a recipe adds to those of any model."""

from typing import Any, Protocol

from lightning import Trainer
from torch import Tensor, nn

from zoo.domain import Domain
from zoo.training.batch import Batch
from zoo.training.distillation import DistillationTerm, copy_weights
from zoo.training.guidance import GuidanceTerm, require_masks
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
        FileNotFoundError, ValueError: see `RemovalTerm`, `GuidanceTerm`, `require_masks` and `DistillationTerm`; or the
            batches hold features that the teacher or the removal cannot use.
    """
    removal, teacher = recipe.removal, recipe.teacher
    data: Any = getattr(trainer, "datamodule", None)
    cached = getattr(data, "caches_features", False)
    if removal is not None and cached:
        raise ValueError("removal needs inputs, and cache_features keeps features; leave cache_features out.")
    terms: list[FurtherTerm] = []
    about = domain, getattr(model, "additive", False), type(model).__name__
    if removal is not None:
        terms.append(RemovalTerm(removal, *about))
    if recipe.guidance is not None:
        terms.append(GuidanceTerm(recipe.guidance, *about))
        if find := getattr(data, "projection_dataset", None):
            require_masks(find()[0])
    if teacher is not None:
        teaching = DistillationTerm(teacher, domain)
        if teacher.start:  # a resumed fit then reads its own weights
            copy_weights(teaching.network, model)
        if teacher.weight > 0:  # else it only gives its weights
            if cached and not teaching.shares(data.backbone, data.projection_dataset()[0]["input"][None]):
                raise ValueError(
                    "cache_features keeps features of the model's backbone, and the teacher "
                    f"{teacher.run} has another one; train a teacher on the same frozen backbone, leave cache_features "
                    "out, or give a teacher that only gives its weights the weight 0."
                )
            terms.append(teaching)
    return tuple(terms)
