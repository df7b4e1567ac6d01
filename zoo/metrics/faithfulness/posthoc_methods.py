"""Integrated gradients, occlusion and KernelSHAP, for many inputs at once.

Occlusion and KernelSHAP score the same sets of patches for every input. One pass through the model yields the
attributions of all classes, and KernelSHAP inverts its regression once for all inputs. Tests compare both with captum.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice

import torch
from torch import Tensor
from torch.distributions import Categorical

from zoo.metrics.faithfulness.elements import over_input
from zoo.metrics.faithfulness.posthoc import PostHoc
from zoo.metrics.faithfulness.subject import centred


class IntegratedGradients(PostHoc):
    """Mean gradient on the line from the baseline (Sundararajan, Taly, Yan: ICML 2017, arXiv 1703.01365)."""

    method, steps = "integrated gradients", 50

    def attributions(self, x: Tensor, target: Tensor) -> Tensor:
        marks = [str(t) for t in target.tolist()]
        return self.remembered(x, lambda rows: self.integrated(x[rows], target[rows]), marks)

    def integrated(self, x: Tensor, target: Tensor) -> Tensor:
        """(B, K) gradients times the distance to the baseline, summed over each patch."""
        from captum.attr import IntegratedGradients as Method

        size = max(self.rows // 4, len(x))  # a backward pass needs more memory than a forward pass
        values = Method(self.margin).attribute(
            x, self.baseline.to(x), additional_forward_args=(target,), n_steps=self.steps, internal_batch_size=size
        )
        each = values.sum(1) if self.domain.modality == "image" else values
        held = each.new_zeros(len(each), len(self.units))
        return held.index_add_(1, self.cells.to(each.device), each.flatten(1))

    def margin(self, x: Tensor, target: Tensor) -> Tensor:
        """(B,) the centred score, differentiable."""
        return centred(self.model(x), target.expand(len(x)) if len(target) == 1 else target)


class Occlusion(PostHoc):
    """The drop of the score if a patch is set to the baseline (Zeiler, Fergus: ECCV 2014, arXiv 1311.2901)."""

    method = "occlusion"

    def attributions(self, x: Tensor, target: Tensor) -> Tensor:
        every = self.remembered(x, lambda rows: self.effects(x[rows]), [""] * len(x))  # (B, K, C)
        return every.gather(2, target[:, None, None].expand(-1, every.shape[1], 1))[..., 0]

    @cached_property
    def sets(self) -> Tensor:
        """(n, K) bool: the patches that each evaluation of the model shows."""
        return ~torch.eye(len(self.units), dtype=torch.bool)

    def effects(self, x: Tensor) -> Tensor:
        """(B, K, C) float64 attributions to the centred score of each class."""
        return self.margins_of(self.scores(x))[:, None] - self.set_margins(x)

    def set_margins(self, x: Tensor) -> Tensor:
        """(B, n, C) float64 centred scores of inputs (B, *shape) that show only the patches of each set."""
        shown = over_input(self.sets[:, self.cells], self.domain).to(x.device)  # (n, ...)
        blank, parts = self.baseline.to(x), []
        for rows in x.split(max(self.rows // len(shown), 1)):
            drawn = torch.where(shown, rows[:, None], blank)  # (b, n, *shape)
            parts.append(self.scores(drawn.flatten(0, 1)).unflatten(0, drawn.shape[:2]))
        return self.margins_of(torch.cat(parts))

    @staticmethod
    def margins_of(scores: Tensor) -> Tensor:
        """(..., C) float64 centred scores of all classes."""
        scores = scores.double()
        return scores - scores.mean(-1, keepdim=True) if scores.shape[-1] > 1 else scores


class KernelShap(Occlusion):
    """Shapley values of patches by a weighted regression (Lundberg, Lee: NeurIPS 2017, arXiv 1705.07874).

    All inputs share the random sets of patches, which captum draws with a fixed seed.
    """

    method, samples, ends = (
        "KernelSHAP",
        256,
        1e6,
    )  # `ends`: weight of the empty and of the full set, in place of infinity

    @cached_property
    def sets(self) -> Tensor:
        from captum.attr import KernelShap as Method

        count = len(self.units)
        features = torch.arange(1, count)
        weight = torch.cat([torch.zeros(1), (count - 1) / (features * (count - features))])
        drawing: Iterator[Tensor] = Method(self.scores).kernel_shap_perturb_generator(
            torch.zeros(1), num_interp_features=count, num_select_distribution=Categorical(weight)
        )
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            return torch.cat(list(islice(drawing, self.samples))).bool()

    @cached_property
    def solution(self) -> Tensor:
        """(K, n) float64: the coefficients of the weighted regression as a linear function of the margins."""
        sets = self.sets.double()
        size = sets.sum(1)
        weight = torch.where((size == 0) | (size == len(self.units)), self.ends, 1.0).double()[:, None]
        centre = lambda values: values - (weight * values).sum(0) / weight.sum()  # noqa: E731  # removes the intercept
        root = weight.sqrt()
        return torch.linalg.pinv(root * centre(sets)) @ (root * centre(torch.eye(len(sets), dtype=torch.float64)))

    def effects(self, x: Tensor) -> Tensor:
        return torch.einsum("kn,bnc->bkc", self.solution.to(x.device), self.set_margins(x))


POSTHOC: dict[str, Callable[..., PostHoc]] = {
    method.method: method for method in (IntegratedGradients, Occlusion, KernelShap)
}
