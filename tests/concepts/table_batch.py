"""A batch of rows with binary concepts and an exclusive group, for the tests of embedding models."""

import torch
from torch import Tensor

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
