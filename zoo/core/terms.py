"""The tensors of an explanation: what a model's methods give for one batch of evidence."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.core.evidence import Evidence
from zoo.core.reference import runner_up

if TYPE_CHECKING:
    from zoo.core.module import SelfInterpretable


def terms_of(
    model: "SelfInterpretable", scores: Tensor, evidence: Evidence, target: Tensor | None, every_class: bool
) -> dict[str, Any]:
    """The tensors of an explanation by name; contributions and bias add up to the target's score.

    Args:
        model: gave scores and evidence.
        scores: (B, C).
        evidence: of B inputs.
        target: (B,) classes or tags; by default those of highest score, of regression targets
            `Domain.default_target`.
        every_class: also the contributions to every class.
    """
    if target is None:
        first = torch.full_like(scores[:, 0], model.domain.default_target, dtype=torch.long)
        target = first if model.domain.task == "regression" else scores.argmax(1)
    with without_autocast(scores):
        contributions, bias = model.attribute(evidence, target) if model.additive else (None, None)
        edges, details = model.edges(evidence, target), model.details(evidence, target)
        every = _every_class(model, scores, evidence) if every_class else {}
    return every | {
        "scores": scores,
        "target": target,
        "contributions": contributions,
        "bias": bias,
        "activation": evidence.activation,
        "support": evidence.support,
        "edges": edges,
        "details": details,
    }


def alternatives_of(model: "SelfInterpretable", evidence: Evidence, terms: dict[str, Any]) -> dict[str, Tensor]:
    """Contributions and, last, bias (B, K + 1) relative to the references "mean" and "runner-up"."""
    with without_autocast(terms["scores"]):
        rivals = model.attribute(evidence, runner_up(terms["scores"], terms["target"]))
        others = {"mean": model.attribute_mean(evidence), "runner-up": rivals}
    contributions, bias = terms["contributions"], terms["bias"]
    return {name: torch.cat([contributions - c, (bias - b)[:, None]], 1) for name, (c, b) in others.items()}


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Full precision; nothing in an exported program, which has no autocast to leave."""
    return nullcontext() if torch.compiler.is_exporting() else torch.autocast(x.device.type, enabled=False)


def _every_class(model: "SelfInterpretable", scores: Tensor, evidence: Evidence) -> dict[str, Tensor | None]:
    """Contributions to each class and slopes, (B, K, C)."""
    classes = torch.arange(scores.shape[1], device=scores.device)
    each = [model.attribute(evidence, c.expand(scores.shape[0]))[0] for c in classes]
    slopes = model.slopes(evidence)
    return {
        "effects": torch.stack(each, 2),
        "slopes": None if slopes is None else slopes.expand(scores.shape[0], -1, -1),
    }
