"""A batch of rows with binary concepts and an exclusive group, for the tests of embedding models."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.small_models import rows_of_table
from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable


def batch() -> dict[str, Tensor]:
    """Five rows of the small table with seeded concepts."""
    draw = torch.Generator().manual_seed(5)
    colours = torch.eye(3)[torch.randint(0, 3, (5,), generator=draw)]
    concepts = torch.cat([torch.randint(0, 2, (5, 2), generator=draw).float(), colours], 1)
    return {"input": rows_of_table(), "target": torch.tensor([0, 1, 2, 1, 0]), "concepts": concepts}


def evidence_of(model: SelfInterpretable) -> Evidence:
    """The evidence of the batch."""
    with torch.no_grad():
        return model.step(rows_of_table())[1]


@torch.no_grad()
def scores_by_hand(model: Any, shared: bool) -> tuple[Tensor, Tensor]:
    """Scores (5, C) and contributions (5, k, C) of an embedding model of width 3, concept by concept.

    Args:
        model: of the small table, CEM or IntCEM.
        shared: whether all concepts have the same scoring layer.
    """
    h, both, logits = model.backbone(batch()["input"]), [], []
    for i in range(5):
        rows, scorer = slice(6 * i, 6 * i + 6), 0 if shared else i
        both.append(F.leaky_relu(h @ model.concepts.embed.weight[rows].T + model.concepts.embed.bias[rows]))
        logits.append(both[i] @ model.concepts.score[scorer] + model.concepts.bias[scorer])
    p = [*(logit.sigmoid() for logit in logits[:2]), *torch.stack(logits[2:]).softmax(0)]  # the last three are colours
    mixed = [p[i][:, None] * both[i][:, :3] + (1 - p[i][:, None]) * both[i][:, 3:] for i in range(5)]
    parts = torch.stack([mixed[i] @ model.head.weight[:, 3 * i : 3 * i + 3].T for i in range(5)], 1)
    return model.head.bias + parts.sum(1), parts
