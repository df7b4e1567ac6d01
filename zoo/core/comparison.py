"""Explanations relative to another reference, and the difference of two explanations; all exact."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from zoo.core.explanation import Explanation


def relative_to(explanation: "Explanation", reference: str) -> "Explanation":
    """See `Explanation.relative_to`."""
    if reference == explanation.reference:
        return explanation
    contributions, bias = terms_for("relative_to()", explanation)
    if reference not in explanation.alternatives:
        raise ValueError(
            f"the contributions relative to '{reference}' are unknown; this explanation has "
            f"{', '.join(explanation.references)}. Use model.explain(x, reference='{reference}')."
        )
    others = {**explanation.alternatives, explanation.reference: torch.cat([contributions, bias[:, None]], 1)}
    parts = others.pop(reference)
    return replace(
        explanation, contributions=parts[:, :-1], bias=parts[:, -1], reference=reference, alternatives=others
    )


def difference(one: "Explanation", other: "Explanation") -> "Explanation":
    """See `Explanation.versus`."""
    (mine, bias), (theirs, other_bias) = (terms_for("versus()", relative_to(e, "zero")) for e in (one, other))
    if one.scores.shape != other.scores.shape or not torch.equal(one.scores, other.scores):
        raise ValueError(
            "versus() compares two explanations of the same batch by the same model; these have different scores."
        )
    names = tuple(
        f"{a} rather than {b} ({i})" for i, (a, b) in enumerate(zip(one.target_names, other.target_names, strict=True))
    )
    return replace(
        one,
        scores=torch.diag(one.score - other.score),
        target=torch.arange(len(one), device=one.target.device),
        contributions=mine - theirs,
        bias=bias - other_bias,
        domain=replace(one.domain, classes=names),
        space="margin",
        edges=None,
        details={},
        effects=None,
        slopes=None,
        reference="zero",
        alternatives={},
        statements=(),
        counterfactuals=(),
    )


def terms_for(caller: str, explanation: "Explanation") -> tuple[Tensor, Tensor]:
    """Contributions (B, K) and bias (B,).

    Raises:
        ValueError: the model is not additive.
    """
    if explanation.contributions is None or explanation.bias is None:
        raise ValueError(
            f"{caller} needs contributions, and this model is not additive; use top(), which ranks by activation."
        )
    return explanation.contributions, explanation.bias


def check_sum(explanation: "Explanation") -> "Explanation":
    """See `Explanation.check`."""
    (contributions, bias), gap = terms_for("check()", explanation), explanation.gap()
    size = bias.double().abs() + contributions.double().abs().sum(1)
    if (own := explanation.alternatives.get("zero")) is not None:
        size = size.maximum(own.double().abs().sum(1))
    allowed = 1e-6 + 1e-5 * size
    if bool((~(gap <= allowed)).any()):
        row = int((gap - allowed).nan_to_num(torch.inf).argmax())
        raise ArithmeticError(
            f"the contributions of row {row} miss its score by {gap[row]:.3g} (allowed: {allowed[row]:.3g})."
        )
    return explanation
