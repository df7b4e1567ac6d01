"""Toy tables with exactly known concepts: XOR, Trig and Dot.

Espinosa Zarlenga et al.: "Concept Embedding Models", NeurIPS 2022, arXiv 2209.09056, section 4 and appendix A.
"""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.items import Rows
from zoo.data.base.module import DataModule
from zoo.domain import TableDomain
from zoo.utils.checks import check_at_least, check_choice

Sample = tuple[Tensor, Tensor, Tensor]  # inputs (N, F), concepts (N, k), targets (N,)


def xor(count: int, draw: torch.Generator) -> Sample:
    """X ~ U[0, 1]²; a concept is whether a coordinate is above 0.5, the label whether exactly one of the two is."""
    x = torch.rand(count, 2, generator=draw)
    concepts = x > 0.5
    return x, concepts.float(), concepts[:, 0] ^ concepts[:, 1]


def trig(count: int, draw: torch.Generator) -> Sample:
    """Hidden a, b, c ~ N(0, 2²); inputs are seven features of them, concepts their signs, the label a + b + c > 1."""
    hidden = 2 * torch.randn(count, 3, generator=draw)
    waves = torch.stack([hidden.sin() + hidden, hidden.cos() + hidden], 2).flatten(1)
    x = torch.cat([waves, hidden.square().sum(1, keepdim=True)], 1)
    return x, (hidden > 0).float(), hidden.sum(1) > 1


def dot(count: int, draw: torch.Generator) -> Sample:
    """v, w ~ N(0, 2²)²; inputs are v + w and v - w; concepts v·1 > 0 and w·1 < 0 do not determine the label v·w > 0."""
    v, w = 2 * torch.randn(2, count, 2, generator=draw)
    concepts = torch.stack([v.sum(1) > 0, -w.sum(1) > 0], 1)
    return torch.cat([v + w, v - w], 1), concepts.float(), (v * w).sum(1) > 0


TOYS = {
    "xor": (xor, ("x", "y"), ("x above 0.5", "y above 0.5"), ("same", "different")),
    "trig": (
        trig,
        ("sin a + a", "cos a + a", "sin b + b", "cos b + b", "sin c + c", "cos c + c", "a² + b² + c²"),
        ("a positive", "b positive", "c positive"),
        ("sum at most 1", "sum above 1"),
    ),
    "dot": (
        dot,
        ("v₁ + w₁", "v₂ + w₂", "v₁ - w₁", "v₂ - w₂"),
        ("v points up", "w points down"),
        ("v·w not positive", "v·w positive"),
    ),
}


class ConceptToy(DataModule):
    """XOR, Trig or Dot: small tables with exact concepts; 70 % for training, 10 % for validation, 20 % for the test.

    Args:
        name: "xor", "trig" or "dot". In "dot" the concepts do not determine the label.
        count: total number of rows.
        batch_size: items per batch.
        **loading: the other options of `DataModule`.
    """

    def __init__(self, name: str = "dot", count: int = 3000, batch_size: int = 256, **loading: Any) -> None:
        super().__init__(batch_size=batch_size, **loading)
        check_choice(TOYS, name=name)
        check_at_least(20, count=count)  # so that every split has rows
        self.toy, self.count = name, count

    def make_domain(self) -> TableDomain:
        _, features, concepts, classes = TOYS[self.toy]
        return TableDomain(classes=classes, concepts=concepts, features=features)

    def items(self, split: str, training: bool) -> Rows:
        ends = [0, self.count * 7 // 10, self.count * 8 // 10, self.count]
        part = ("train", "val", "test").index(split)
        rows = slice(ends[part], ends[part + 1])
        inputs, concepts, targets = (t[rows] for t in self._sample)
        return Rows(inputs, targets, [f"{self.toy} {i}" for i in range(rows.start, rows.stop)], concepts)

    @cached_property
    def _sample(self) -> Sample:
        x, concepts, label = TOYS[self.toy][0](self.count, torch.Generator().manual_seed(self.seed))
        return x, concepts, label.long()
