"""Rows with concepts for the small models, as batches and as cached evidence."""

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.small_models import ROWS, build, cbm, cem
from zoo.core.module import SelfInterpretable
from zoo.interventions.cached_evidence import CachedEvidence, cache_evidence

MODELS = {
    "cbm": cbm,
    "cbm-logit": lambda: cbm(bottleneck="logit"),
    "cbm-hard": lambda: cbm(bottleneck="hard"),
    "cbm-mlp": lambda: cbm(hidden=[6]),
    "cem": cem,
    "intcem": lambda: build("intcem", policy=[8]),
}


def make(name: str, steep: float = 4.0) -> SelfInterpretable:
    """A small model with seeded weights, whose head is steep enough for interventions to matter."""
    torch.manual_seed(0)
    model = MODELS[name]().model
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.mul_(steep)
    return model


def batches(count: int = 40, missing: bool = False, seed: int = 3) -> list[dict[str, Tensor]]:
    """Two batches of a table with labels at random; every seventh label is missing if asked."""
    draw = torch.Generator().manual_seed(seed)
    single = torch.randint(0, 2, (count, 2), generator=draw).float()
    colours = F.one_hot(torch.randint(0, 3, (count,), generator=draw), 3).float()
    concepts = torch.cat([single, colours], 1)
    if missing:
        concepts.view(-1)[::7] = torch.nan
    rows = {
        "input": torch.randn(count, *ROWS.shape, generator=draw),
        "target": torch.randint(0, 3, (count,), generator=draw),
        "concepts": concepts,
    }
    return [{key: t[:25] for key, t in rows.items()}, {key: t[25:] for key, t in rows.items()}]


def cached_rows(model: SelfInterpretable, **options: bool) -> CachedEvidence:
    return cache_evidence(model, batches(**options))
