"""Post-hoc explanations of a model as subjects, for comparison with built-in explanations.

They explain any model that maps inputs to scores: a black box, or a self-interpretable model, whose own explanation
they ignore. Units are the patches of a grid (features of a table, spans of a series); contributions are to the centred
score. They need not sum to it: the completeness gap measures the difference.
"""

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from zoo.core.evidence import Unit
from zoo.core.explanation import Explanation
from zoo.metrics.faithfulness.elements import TIMED, cells_of, element_shape
from zoo.metrics.faithfulness.subject import LIMIT, Subject, centred, content_key
from zoo.utils.optional import need

if TYPE_CHECKING:
    from zoo.core.module import SelfInterpretable
    from zoo.training.black_box import BlackBox

MODALITIES = ("image", "table", *TIMED)

# Metrics to compare with built-in explanations. Locality (M5), purity (M12) and interventions (M13) concern units of a
# model, which patches of a fixed grid are not. Stability (M7) and parameter randomisation (M9) explain each input 12
# and 4 more times, which costs more than all others together.
METRICS = ("M1", "M2", "M3", "M4", "M6", "M8", "M10", "M11", "M14")


class PostHoc(Subject):
    """A model explained by a post-hoc method.

    Attributions are kept, because several metrics explain the same inputs.

    Args:
        model: maps inputs to scores (B, C).
        baseline: (*shape) an uninformative input.
        patches: patches along each axis of an image, or along the time axis of a series.
        limit: see `Subject`.

    Raises:
        ImportError: captum is not installed.
        ValueError: the inputs are tokens, which have no intermediate values.
    """

    method: ClassVar[str]
    kept = 4096  # largest number of remembered attributions

    def __init__(
        self, model: "BlackBox | SelfInterpretable", baseline: Tensor, patches: int = 8, limit: int = LIMIT
    ) -> None:
        need("captum", "compare")
        domain = model.domain
        if domain.modality not in MODALITIES:
            raise ValueError(f"{self.method} requires continuous inputs; {domain.modality} tokens are discrete.")
        self.model, self.domain, self.limit = model.eval(), domain, limit
        self.additive, self.name = True, f"{self.method} of {type(model).__name__}"
        self.space = getattr(model, "space", "logit")
        shape = element_shape(domain)
        self.grid = tuple(min(patches, size) for size in shape) if domain.modality == "image" else shape
        if domain.modality in TIMED:
            self.grid = (min(patches, shape[0]), shape[1])
        self.cells, self.baseline = cells_of(self.grid, shape), baseline[None]
        self.units = tuple(
            Unit(_place(i, self.grid), "patch" if len(self.grid) > 1 else "feature") for i in range(prod(self.grid))
        )
        self.known: dict[bytes, Tensor] = {}

    def forget(self) -> None:
        super().forget()
        self.known = {}

    def attributions(self, x: Tensor, target: Tensor) -> Tensor:
        """(B, K) the attribution of each patch."""
        raise NotImplementedError(f"{type(self).__name__} does not define attributions().")

    def explain(self, x: Tensor, target: Tensor | None = None) -> Explanation:
        scores = self.scores(x)
        target = scores.argmax(1) if target is None else target
        parts = self.margins(x, target)
        blank = centred(self.scores(self.baseline.to(x)).expand(len(x), -1), target)
        places = torch.eye(len(self.units), device=x.device).unflatten(1, self.grid)
        return Explanation(
            scores=scores,
            target=target,
            contributions=parts,
            bias=blank,
            reference="mean" if scores.shape[1] > 1 else "zero",
            activation=parts,
            support=places.expand(len(x), *places.shape),
            units=self.units,
            domain=self.domain,
            inputs=x,
            space=self.space,
        )

    def margins(self, x: Tensor, target: Tensor) -> Tensor:
        return self.attributions(x, target).detach().float()

    def remembered(self, x: Tensor, compute: Callable[[Tensor], Tensor], marks: list[str]) -> Tensor:
        """`compute(rows)` (n, ...) for the inputs x (B, *shape), only for those not seen before with the same mark."""
        keys = [content_key(mark, row) for mark, row in zip(marks, x, strict=True)]
        new = [i for i, key in enumerate(keys) if key not in self.known]
        found = {key: self.known[key] for key in keys if key in self.known}
        if new:
            computed = compute(torch.tensor(new, device=x.device))
            found |= {keys[i]: values for i, values in zip(new, computed.detach().unbind(), strict=True)}
        for key in keys:  # the latest last
            self.known.pop(key, None)
            self.known[key] = found[key]
        while len(self.known) > self.kept:
            del self.known[next(iter(self.known))]
        return torch.stack([found[key] for key in keys])


def _place(number: int, grid: tuple[int, ...]) -> str:
    if len(grid) == 1:
        return f"feature {number + 1}"
    return f"patch {number // grid[1] + 1}, {number % grid[1] + 1}"
