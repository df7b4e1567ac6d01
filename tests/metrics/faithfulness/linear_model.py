"""A benchmark with a known explanation: linear scores of a grid of independent normal numbers."""

import torch
from torch import Tensor, nn

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.domain import ImageDomain
from zoo.metrics.faithfulness import Case, Subject
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

SIDE, CLASSES, BLOCK = 6, 3, 6
RECIPE = Recipe(
    stages=(Stage("fit", 1, train=("head",)),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"cross_entropy": 1.0},
)


class Pixels(SelfInterpretable):
    """Every pixel is a unit; each class reads its own six, with mixed signs."""

    default_recipe = RECIPE

    def __init__(self, seed: int = 0) -> None:
        domain = ImageDomain(classes=("a", "b", "c"), size=(SIDE, SIDE), channels=1, mean=(0.0,), std=(1.0,))
        super().__init__(domain=domain)
        self.head = nn.Linear(SIDE**2, CLASSES, bias=False)
        draw = torch.Generator().manual_seed(seed)
        self.own = torch.zeros(CLASSES, SIDE**2, dtype=torch.bool)
        for c in range(CLASSES):
            self.own[c, c * BLOCK : (c + 1) * BLOCK] = True
        sizes = 0.5 + torch.rand(CLASSES, SIDE**2, generator=draw)
        signs = torch.randint(0, 2, (CLASSES, SIDE**2), generator=draw) * 2 - 1
        self.head.weight = nn.Parameter(sizes * signs * self.own)

    def evidence(self, x: Tensor) -> Evidence:
        places = torch.eye(SIDE**2).unflatten(1, (SIDE, SIDE))
        return Evidence(x.flatten(1), None if self.training else places.expand(x.shape[0], -1, -1, -1))

    def units(self) -> tuple[Unit, ...]:
        return tuple(Unit(f"pixel {i}", "feature") for i in range(SIDE**2))

    def losses(self, scores: Tensor, evidence: Evidence, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"cross_entropy": nn.functional.cross_entropy(scores, batch["target"])}


def linear_case(subject: Subject | None = None, count: int = 300) -> Case:
    """The first `count` inputs, what a subject says of them, and the pixels that the predicted class reads."""
    subject = Subject(Pixels()) if subject is None else subject
    x = torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    target = subject.scores(x).argmax(1)
    truth = subject.model.own[target].view(count, 1, SIDE, SIDE).float()
    return Case(subject, x, torch.arange(count), labels=target, regions=truth)
