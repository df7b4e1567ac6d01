"""What an explanation says about its unit "residual"."""

from collections.abc import Mapping
from typing import Any

import torch


def residual_statements(terms: Mapping[str, Any]) -> tuple[str, ...]:
    """One sentence for each row: how much of the target's lead over the runner-up is the last unit, the residual.

    Args:
        terms: of an explanation, see `zoo.core.terms.terms_of`; without a runner-up, the score itself is meant.
    """
    lead = terms.get("alternatives", {}).get("runner-up")
    if lead is None:
        lead, whole = torch.cat([terms["contributions"], terms["bias"][:, None]], 1), "score"
    else:
        whole = "lead over the runner-up"
    residual, total = lead[:, -2], lead.sum(1)
    share = residual.abs() / lead[:, :-1].abs().sum(1).clamp_min(1e-12)
    return tuple(
        f"The residual, what the atoms do not code, is {part:+.3g} of the {whole} of {value:.3g}: {size:.1%} of the "
        "absolute contributions."
        for part, value, size in zip(residual.tolist(), total.tolist(), share.tolist(), strict=True)
    )
