"""Control problems with named concepts, and an annotator who answers a bounded number of questions about states."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.base.items import Rows
from zoo.data.synthetic.control import Control
from zoo.domain import TableDomain
from zoo.utils.checks import check_between

# Of each world: name, number of the observed value, and the bound above which the concept is present.
CONCEPTS = {
    "cartpole": (
        ("cart not far left", 0, -0.5),
        ("cart far right", 0, 0.5),
        ("cart not fast to the left", 1, -0.4),
        ("cart moves right", 1, 0.0),
        ("cart fast to the right", 1, 0.4),
        ("pole not far left", 2, -0.05),
        ("pole leans right", 2, 0.0),
        ("pole far right", 2, 0.05),
        ("pole not fast to the left", 3, -0.4),
        ("pole swings right", 3, 0.0),
        ("pole fast to the right", 3, 0.4),
    ),
    "mountaincar": (
        ("right of the left slope", 0, -0.9),
        ("right of the valley", 0, -0.5),
        ("on the last slope", 0, 0.0),
        ("moves right", 1, 0.0),
        ("fast to the right", 1, 0.03),
        ("not fast to the left", 1, -0.03),
    ),
    "acrobot": (
        ("first link hangs", 0, 0.0),
        ("first link right", 1, 0.0),
        ("second link straight", 2, 0.0),
        ("second link bent right", 3, 0.0),
        ("first link swings right", 4, 0.0),
        ("second link swings right", 5, 0.0),
    ),
    "pendulum": (
        ("above the middle", 0, 0.0),
        ("near the top", 0, 0.9),
        ("left of the middle", 1, 0.0),
        ("swings left", 2, 0.0),
        ("fast to the left", 2, 4.0),
        ("not fast to the right", 2, -4.0),
    ),
}


class AnnotatedControl(Control):
    """A control problem whose states can be annotated with named concepts, up to a number of labelled states.

    The rows of the splits have all labels; a policy in training gets only those that it asks for.

    Args:
        labels: largest number of states that are annotated during a training.
        **options: of `zoo.data.Control`.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, labels: int = 500, **options: Any) -> None:
        super().__init__(**options)
        check_between(10, 100_000, labels=labels)
        self.labels, self.marks = labels, CONCEPTS[self.world.name]
        self.asked: Tensor = torch.zeros(0, len(self.world.features))  # inputs of the annotated states
        self.answers: Tensor = torch.zeros(0, len(self.marks))

    def make_domain(self) -> TableDomain:
        return replace(super().make_domain(), concepts=tuple(name for name, _, _ in self.marks))

    def concepts(self, x: Tensor) -> Tensor:
        """The true concepts (N, k) in {0, 1} of inputs (N, F)."""
        values = x.cpu() * torch.from_numpy(np.array(self.world.scale, dtype=np.float32))
        columns, bounds = [column for _, column, _ in self.marks], torch.tensor([bound for _, _, bound in self.marks])
        return (values[:, columns] > bounds).float()

    def items(self, split: str, training: bool) -> Rows:
        rows = super().items(split, training)
        if rows.concepts is None:
            rows.concepts = self.concepts(rows.inputs)
        return rows

    def ask(self, x: Tensor) -> None:
        """Annotates states, given as inputs (N, F), and keeps them with their labels.

        Raises:
            ValueError: more states than may be annotated.
        """
        if len(self.asked) + len(x) > self.labels:
            raise ValueError(f"{len(x)} more states would be annotated; of {self.labels}, {len(self.asked)} are.")
        self.asked = torch.cat([self.asked, x.cpu()])
        self.answers = torch.cat([self.answers, self.concepts(x)])

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "asked": self.asked, "answers": self.answers}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.asked, self.answers = state_dict["asked"], state_dict["answers"]
        super().load_state_dict({name: state_dict[name] for name in ("running", "ages") if name in state_dict})
