"""Post-hoc explanations of a black box as subjects, for comparison with self-interpretable models.

The methods come from captum (the extra `compare`). Units are the patches of a grid (features of a table, spans of a
series); contributions are to the centred score. They need not sum to it: the completeness gap measures the difference.
"""

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from zoo.core.evidence import Unit
from zoo.core.explanation import Explanation
from zoo.metrics.faithfulness.elements import cells_of, element_shape, over_input
from zoo.metrics.faithfulness.subject import LIMIT, Subject, centred
from zoo.utils.optional import need

if TYPE_CHECKING:
    from zoo.training.black_box import BlackBox


class PostHoc(Subject):
    """A black box explained by a method of captum.

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

    def __init__(self, model: "BlackBox", baseline: Tensor, patches: int = 8, limit: int = LIMIT) -> None:
        need("captum", "compare")
        domain = model.domain
        if domain.modality not in ("image", "table", "series"):
            raise ValueError(f"{self.method} requires continuous inputs; {domain.modality} tokens are discrete.")
        self.model, self.domain, self.limit = model.eval(), domain, limit
        self.additive, self.name = True, f"{self.method} of {type(model).__name__}"
        shape = element_shape(domain)
        self.grid = tuple(min(patches, size) for size in shape) if domain.modality == "image" else shape
        if domain.modality == "series":
            self.grid = (min(patches, shape[0]), shape[1])
        self.cells, self.baseline = cells_of(self.grid, shape), baseline[None]
        count = prod(self.grid)
        self.units = tuple(
            Unit(_place(i, self.grid), "patch" if len(self.grid) > 1 else "feature") for i in range(count)
        )

    def margin(self, x: Tensor, target: Tensor) -> Tensor:
        """(B,) the centred score, differentiable."""
        return centred(self.model(x), target.expand(len(x)) if len(target) == 1 else target)

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
            bias=blank + scores.gather(1, target[:, None])[:, 0] - centred(scores, target),
            activation=parts,
            support=places.expand(len(x), *places.shape),
            units=self.units,
            domain=self.domain,
            inputs=x,
        )

    def margins(self, x: Tensor, target: Tensor) -> Tensor:
        return self.attributions(x, target).detach().float()

    def summed(self, values: Tensor) -> Tensor:
        """(B, K) attributions (B, *shape), summed over each patch."""
        each = values.sum(1) if self.domain.modality == "image" else values
        held = each.new_zeros(len(each), len(self.units))
        return held.index_add_(1, self.cells.to(each.device), each.flatten(1))


class IntegratedGradients(PostHoc):
    """Mean gradient on the line from the baseline (Sundararajan, Taly, Yan: ICML 2017, arXiv 1703.01365)."""

    method, steps = "integrated gradients", 50

    def attributions(self, x: Tensor, target: Tensor) -> Tensor:
        from captum.attr import IntegratedGradients as Method

        size = max(self.rows // 4, len(x))  # a backward pass needs more memory than a forward pass
        values = Method(self.margin).attribute(
            x, self.baseline.to(x), additional_forward_args=(target,), n_steps=self.steps, internal_batch_size=size
        )
        return self.summed(values)


class Occlusion(PostHoc):
    """The drop of the score if a patch is set to the baseline (Zeiler, Fergus: ECCV 2014, arXiv 1311.2901)."""

    method = "occlusion"

    @torch.no_grad()
    def attributions(self, x: Tensor, target: Tensor) -> Tensor:
        from captum.attr import FeatureAblation

        values = FeatureAblation(self.margin).attribute(
            x,
            self.baseline.to(x),
            additional_forward_args=(target,),
            feature_mask=self.patch_numbers(x),
            perturbations_per_eval=max(self.rows // len(x), 1),
        )
        return self.of_patches(values)

    def patch_numbers(self, x: Tensor) -> Tensor:
        """(1, *shape) the number of the patch that contains each value."""
        return over_input(self.cells[None].to(x.device), self.domain).expand(1, *x.shape[1:])

    def of_patches(self, values: Tensor) -> Tensor:
        """(B, K) from attributions (B, *shape) that are constant within each patch."""
        flat = (values[:, 0] if self.domain.modality == "image" else values).flatten(1)
        first = torch.stack([(self.cells == k).nonzero()[0, 0] for k in range(len(self.units))])
        return flat[:, first.to(flat.device)]


class KernelShap(Occlusion):
    """Shapley values of patches by a weighted regression (Lundberg, Lee: NeurIPS 2017, arXiv 1705.07874)."""

    method, samples = "KernelSHAP", 256

    @torch.no_grad()
    def attributions(self, x: Tensor, target: Tensor) -> Tensor:
        from captum.attr import KernelShap as Method

        torch_state = torch.get_rng_state()
        baseline, mask, parts = self.baseline.to(x), self.patch_numbers(x), []
        for row, t in zip(x, target, strict=True):  # one by one and with a fixed seed, so that batches do not matter
            torch.manual_seed(0)
            values = Method(self.margin).attribute(
                row[None],
                baseline,
                additional_forward_args=(t[None],),
                feature_mask=mask,
                n_samples=self.samples,
                perturbations_per_eval=min(self.rows, self.samples),
            )
            parts.append(values)
        torch.set_rng_state(torch_state)
        return self.of_patches(torch.cat(parts))


POSTHOC: dict[str, Callable[..., PostHoc]] = {
    method.method: method for method in (IntegratedGradients, Occlusion, KernelShap)
}


def _place(number: int, grid: tuple[int, ...]) -> str:
    if len(grid) == 1:
        return f"feature {number + 1}"
    return f"patch {number // grid[1] + 1}, {number % grid[1] + 1}"
