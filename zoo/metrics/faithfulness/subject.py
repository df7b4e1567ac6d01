"""What metrics evaluate: a subject, which scores and explains inputs, and a case, a batch with its explanation."""

import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from zoo.core.explanation import Explanation
from zoo.domain import Domain
from zoo.metrics.faithfulness.elements import TOKENS, cells_of, element_shape, over_input, present
from zoo.metrics.faithfulness.imputers import Imputer

if TYPE_CHECKING:
    from zoo.core.module import SelfInterpretable

LIMIT = 512 * 2**20  # bytes of the outputs of all layers in one forward pass


class Subject:
    """A model with its explanations; negative controls and post-hoc methods are subjects too.

    Args:
        model: set to evaluation mode.
        limit: largest size in bytes of the outputs of all layers in one pass; inputs are split to stay below it.

    Attributes:
        domain: of the inputs.
        additive: whether explanations have contributions.
        name: of the model.
        same_units: whether a unit means the same in every input; regions of an input do not.
        memo: scores of imputed inputs, by content; share one between the explanations of one model, which are evaluated
            on the same masks. None: nothing is remembered.
    """

    model: Any  # a SelfInterpretable; a BlackBox for post-hoc methods
    domain: Domain
    additive: bool
    name: str
    same_units: bool = True
    memo: dict[bytes, Tensor] | None = None

    def __init__(self, model: "SelfInterpretable", limit: int = LIMIT) -> None:
        self.model, self.domain, self.limit = model.eval(), model.domain, limit
        self.additive, self.name = model.additive, type(model).__name__

    @torch.no_grad()
    def scores(self, x: Tensor) -> Tensor:
        """Scores (B, C) of inputs (B, *shape)."""
        return torch.cat([self.model(part) for part in x.split(self.rows)])

    def forget(self) -> None:
        """Drops everything remembered, after the parameters of the model have changed."""
        self.memo = None

    def explain(self, x: Tensor, target: Tensor | None = None) -> Explanation:
        """The explanation of a batch."""
        return self.model.explain(x, target)

    @torch.no_grad()
    def margins(self, x: Tensor, target: Tensor) -> Tensor:
        """(B, K) contributions to the centred score of the target; exact for additive models."""
        evidence = self.model.step(x)[1]
        own = self.model.attribute(evidence, target)[0]
        return own if len(self.domain.classes) == 1 else own - self.model.attribute_mean(evidence)[0]

    def joined(self, case: "Case", values: Tensor) -> Tensor:
        """Values (B, U) of the terms of `margins` as values (B, K) of the units that the explanation shows."""
        return values

    @cached_property
    def rows(self) -> int:
        """The number of inputs of one forward pass."""
        size = 0

        def count(module: nn.Module, inputs: object, output: object) -> None:
            nonlocal size
            size += output.nbytes if isinstance(output, Tensor) else 0

        leaves = [m for m in self.model.modules() if not list(m.children())]
        hooks = [leaf.register_forward_hook(count) for leaf in leaves]
        try:
            x = self.domain.example(2, torch.Generator().manual_seed(0)).to(self.model.device)
            with torch.no_grad():
                self.model(x)
        finally:
            for hook in hooks:
                hook.remove()
        return max(2 * self.limit // (size + x.nbytes), 1)


def centred(scores: Tensor, target: Tensor) -> Tensor:
    """(...) the target's score minus the mean of all scores (..., C), which is invariant to a shift of all scores."""
    own = scores.gather(-1, target[..., None])[..., 0]
    return own - scores.mean(-1) if scores.shape[-1] > 1 else own


def own_terms(explanation: Explanation) -> Tensor:
    """(B, K) contributions to the target's own score, whatever an explanation of it is relative to.

    `Explanation.importance` if the model is not additive.
    """
    if explanation.contributions is None:
        return explanation.importance
    own = explanation.alternatives.get("zero")
    return explanation.contributions if own is None else own[:, :-1]


def content_key(name: str, *tensors: Tensor) -> bytes:
    """A hash of a name and of the content of tensors."""
    found = hashlib.sha256(name.encode())
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.digest()


class Case:
    """A batch of inputs and the subject's explanation of it; values that several metrics need are computed once.

    What describes an explanation (its size, stability, recovered regions) is measured on the contributions that it
    shows, relative to the model's reference. What is compared with changes of the centred score under removal is
    measured on the contributions to the centred score. The evidence for a class is that for its own score.

    Args:
        subject: the subject to evaluate.
        x: (B, *shape).
        ids: (B,) sample ids, which seed all randomness.
        target: (B,) classes to explain; the predicted ones by default.
        labels: (B,) true classes, if known.
        regions: (B, R, *S) in {0, 1}, ground-truth regions, if known.
        blank: (*shape) an uninformative input, such as the mean of the training inputs; 0 by default. For tokens, all
            of them are replaced by the unknown token.
        concepts: (B, k) in {0, 1, NaN}, concept labels, if known.
    """

    def __init__(
        self,
        subject: Subject,
        x: Tensor,
        ids: Tensor,
        target: Tensor | None = None,
        labels: Tensor | None = None,
        regions: Tensor | None = None,
        blank: Tensor | None = None,
        concepts: Tensor | None = None,
    ) -> None:
        self.subject, self.x, self.ids, self.labels, self.concepts = subject, x, ids, labels, concepts
        self.explanation = subject.explain(x, target)
        self.target, self.domain = self.explanation.target, subject.domain
        self.regions = None if regions is None else regions.flatten(2)
        if self.domain.modality in TOKENS:
            self.blank = (x != 0).to(x)
        else:
            self.blank = torch.zeros_like(x[:1]) if blank is None else blank[None].to(x)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def known(self) -> tuple[bool, bool, bool]:
        """Whether there are supports, ground-truth regions, and concept labels."""
        return self.explanation.support is not None, self.regions is not None, self.concepts is not None

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of the elements."""
        return element_shape(self.domain)

    @cached_property
    def present(self) -> Tensor:
        """(B, N) bool, False for padding."""
        return present(self.x, self.domain)

    @cached_property
    def cells(self) -> Tensor:
        """(N,) the cell of the support grid that contains each element."""
        return cells_of(tuple(self._support.shape[2:]), self.shape).to(self.x.device)

    @cached_property
    def supports(self) -> Tensor:
        """(B, K, G) the supports, with a flattened grid."""
        return self._support.flatten(2)

    @property
    def _support(self) -> Tensor:
        if self.explanation.support is None:
            raise ValueError(f"the units of {self.subject.name} have no location in the input (support is None).")
        return self.explanation.support

    @cached_property
    def cell_size(self) -> Tensor:
        """(B, G) the number of present elements in each cell of the grid."""
        return self.gather(self.present)

    @cached_property
    def mass(self) -> Tensor:
        """(B, K) the size of each support, in elements."""
        return torch.einsum("bkg,bg->bk", self.supports, self.cell_size)

    def gather(self, mask: Tensor) -> Tensor:
        """(B, ..., G) the number of elements of each cell that masks (B, ..., N) contain."""
        held = mask.new_zeros(*mask.shape[:-1], self.supports.shape[2], dtype=self.supports.dtype)
        return held.index_add_(-1, self.cells, mask.to(self.supports.dtype))

    def covered(self, masks: Tensor) -> Tensor:
        """(B, n, K) the share of each unit's support inside masks (B, n, N); 0 for an empty support."""
        held = torch.einsum("bkg,bng->bnk", self.supports, self.gather(masks & self.present[:, None]))
        return held / self.mass[:, None].clamp_min(torch.finfo(held.dtype).tiny)

    def spread(self, weight: Tensor) -> Tensor:
        """(B, N) the weights of the units (B, K), each spread over its support; nowhere if that is empty."""
        share = torch.where(self.mass > 0, weight / self.mass.clamp_min(torch.finfo(weight.dtype).tiny), 0.0)
        return torch.einsum("bk,bkg->bg", share, self.supports)[:, self.cells] * self.present

    @cached_property
    def attribution(self) -> Tensor:
        """(B, N) the contributions to the centred score, spread over the elements; `weight` if there are none."""
        return self.spread(self.weight if self.explanation.contributions is None else self.margins)

    @cached_property
    def evidence_map(self) -> Tensor:
        """(B, N) the positive contributions to the target's own score, spread over the elements; or `weight`."""
        return self.spread(own_terms(self.explanation).clamp_min(0))

    @cached_property
    def weight(self) -> Tensor:
        """(B, K) contributions relative to the model's reference, as an explanation shows them.

        `Explanation.importance` if the model is not additive.
        """
        parts = self.explanation.contributions
        return self.explanation.importance if parts is None else parts

    @cached_property
    def margins(self) -> Tensor:
        """(B, K) contributions to the target's centred score, that relative to the mean."""
        if self.explanation.reference == "mean" and self.explanation.contributions is not None:
            return self.explanation.contributions
        return self.subject.joined(self, self.subject.margins(self.x, self.target))

    @cached_property
    def blank_margins(self) -> Tensor:
        """(B, K) the same contributions for the blank input."""
        if len(self.blank) == len(self):
            return self.subject.joined(self, self.subject.margins(self.blank, self.target))
        targets = self.target.unique()
        rows = self.subject.margins(self.blank.expand(len(targets), *self.blank.shape[1:]), targets)
        return self.subject.joined(self, rows[torch.searchsorted(targets, self.target)])

    @cached_property
    def score(self) -> Tensor:
        """(B,) float64: the target's centred score."""
        return centred(self.explanation.scores.double(), self.target)

    @cached_property
    def blank_score(self) -> Tensor:
        """(B,) float64: the same for the blank input."""
        scores = self.subject.scores(self.blank).double()
        return centred(scores.expand(len(self), -1), self.target)

    def scores_without(self, masks: Tensor, imputer: Imputer) -> Tensor:
        """(B, n, C) float64 scores with the elements of masks (B, n, N) imputed."""
        changed = lambda rows: imputer(self.x[rows], masks[rows], self.ids[rows])  # noqa: E731
        memo = self.subject.memo
        if memo is None:
            return self.scores_of(changed, masks.shape[1])
        key = content_key(imputer.name, self.x, self.ids, masks)
        if key not in memo:
            memo[key] = self.scores_of(changed, masks.shape[1])
        return memo[key]

    def scores_only(self, masks: Tensor) -> Tensor:
        """(B, n, C) float64 scores of the blank input with the elements of masks (B, n, N) inserted."""
        inserted = lambda rows: torch.where(  # noqa: E731
            over_input(masks[rows], self.domain), self.x[rows, None], self.blank.expand_as(self.x)[rows, None]
        )
        return self.scores_of(inserted, masks.shape[1])

    def scores_of(self, changed: Callable[[slice], Tensor], count: int) -> Tensor:
        """(B, n, C) float64 scores of `changed(rows)` (b, n, *shape), for as many rows as fit in a pass."""
        step = max(self.subject.rows // count, 1)
        parts = []
        for start in range(0, len(self), step):
            x = changed(slice(start, start + step))
            parts.append(self.subject.scores(x.flatten(0, 1)).double().unflatten(0, x.shape[:2]))
        return torch.cat(parts)

    def drops(self, scores: Tensor) -> Tensor:
        """(B, n) the drop of the target's centred score in scores (B, n, C)."""
        return self.score[:, None] - centred(scores, self.target[:, None].expand(scores.shape[:2]))
