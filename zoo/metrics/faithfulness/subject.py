"""What is measured: something that scores inputs and explains the scores, and a batch of what it says."""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo.core.explanation import Explanation
from zoo.metrics.faithfulness.elements import TOKENS, cells_of, element_shape, over_input, present
from zoo.metrics.faithfulness.imputers import Imputer

if TYPE_CHECKING:
    from zoo.core.module import SelfInterpretable

LIMIT = 512 * 2**20  # bytes that a forward pass may take


class Subject:
    """A model as metrics see it; negative controls and post-hoc methods are subjects too.

    Args:
        model: in the mode in which it predicts.
        limit: bytes that the layers' outputs of one pass may take; inputs are split to stay below.

    Attributes:
        domain: of the inputs.
        additive: whether explanations have contributions.
        name: of the model.
    """

    def __init__(self, model: "SelfInterpretable", limit: int = LIMIT) -> None:
        self.model, self.domain, self.limit = model.eval(), model.domain, limit
        self.additive, self.name = model.additive, type(model).__name__

    @torch.no_grad()
    def scores(self, x: Tensor) -> Tensor:
        """(B, C) of inputs (B, *shape)."""
        return torch.cat([self.model(part) for part in x.split(self.rows)])

    def explain(self, x: Tensor, target: Tensor | None = None) -> Explanation:
        """The explanation of a batch."""
        return self.model.explain(x, target)

    @torch.no_grad()
    def margins(self, x: Tensor, target: Tensor) -> Tensor:
        """(B, K) contributions to the target's score less the mean of all scores; exact, as scores are sums."""
        evidence = self.model.step(x)[1]
        count = len(self.domain.classes)
        own = self.model.attribute(evidence, target)[0]
        if count == 1:
            return own
        each = (self.model.attribute(evidence, torch.full_like(target, c))[0] for c in range(count))
        return own - sum(each) / count

    @cached_property
    def rows(self) -> int:
        """How many inputs go through the network at once."""
        spent = 0

        def count(module: nn.Module, inputs: object, output: object) -> None:
            nonlocal spent
            spent += output.nbytes if isinstance(output, Tensor) else 0

        leaves = [m for m in self.model.modules() if not list(m.children())]
        hooks = [leaf.register_forward_hook(count) for leaf in leaves]
        try:
            x = self.domain.example(2, torch.Generator().manual_seed(0)).to(self.model.device)
            with torch.no_grad():
                self.model(x)
        finally:
            for hook in hooks:
                hook.remove()
        return max(2 * self.limit // (spent + x.nbytes), 1)


def centred(scores: Tensor, target: Tensor) -> Tensor:
    """(...) the target's score less the mean of all, for scores (..., C): shifts of all scores change nothing."""
    own = scores.gather(-1, target[..., None])[..., 0]
    return own - scores.mean(-1) if scores.shape[-1] > 1 else own


class Case:
    """A batch of inputs, a subject, and what it says of them. Metrics read it; what they share is computed once.

    Args:
        subject: what is measured.
        x: (B, *shape).
        ids: (B,) of the samples, from which all randomness follows.
        target: (B,) classes to explain; the predicted ones by default.
        labels: (B,) true classes, where known.
        truth: (B, R, *S) in {0, 1}, elements that are known to matter, where known.
        blank: (*shape) the input without anything, such as the mean of the training inputs; 0 by default. Of tokens it
            is as many of number 1, the unknown one, as the input has.
        concepts: (B, k) in {0, 1, NaN}, the true concepts, where known.
    """

    def __init__(
        self,
        subject: Subject,
        x: Tensor,
        ids: Tensor,
        target: Tensor | None = None,
        labels: Tensor | None = None,
        truth: Tensor | None = None,
        blank: Tensor | None = None,
        concepts: Tensor | None = None,
    ) -> None:
        self.subject, self.x, self.ids, self.labels, self.concepts = subject, x, ids, labels, concepts
        self.explanation = subject.explain(x, target)
        self.target, self.domain = self.explanation.target, subject.domain
        self.truth = None if truth is None else truth.flatten(2)
        if self.domain.modality in TOKENS:
            self.blank = (x != 0).to(x)
        else:
            self.blank = torch.zeros_like(x[:1]) if blank is None else blank[None].to(x)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def known(self) -> tuple[bool, bool, bool]:
        """Whether there are supports, elements that are known to matter, and true concepts."""
        return self.explanation.support is not None, self.truth is not None, self.concepts is not None

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of the elements."""
        return element_shape(self.domain)

    @cached_property
    def present(self) -> Tensor:
        """(B, N) bool."""
        return present(self.x, self.domain)

    @cached_property
    def cells(self) -> Tensor:
        """(N,) the cell of the supports' grid in which each element lies."""
        support = self.explanation.support
        if support is None:
            raise ValueError(f"{self.subject.name} has units without a place in the input.")
        return cells_of(tuple(support.shape[2:]), self.shape).to(self.x.device)

    @cached_property
    def place(self) -> Tensor:
        """(B, K, G) supports on their grid."""
        support = self.explanation.support
        if support is None:
            raise ValueError(f"{self.subject.name} has units without a place in the input.")
        return support.flatten(2)

    @cached_property
    def cell_size(self) -> Tensor:
        """(B, G) how many present elements each cell of the grid holds."""
        return self.gather(self.present)

    @cached_property
    def mass(self) -> Tensor:
        """(B, K) how many elements each support amounts to."""
        return torch.einsum("bkg,bg->bk", self.place, self.cell_size)

    def gather(self, mask: Tensor) -> Tensor:
        """(B, ..., G) what masks (B, ..., N) hold of each cell."""
        held = mask.new_zeros(*mask.shape[:-1], self.place.shape[2], dtype=self.place.dtype)
        return held.index_add_(-1, self.cells, mask.to(self.place.dtype))

    def covered(self, masks: Tensor) -> Tensor:
        """(B, n, K) which share of each unit's support masks (B, n, N) hold; 0 of a unit without support."""
        held = torch.einsum("bkg,bng->bnk", self.place, self.gather(masks & self.present[:, None]))
        return held / self.mass[:, None].clamp_min(torch.finfo(held.dtype).tiny)

    def laid_out(self, weight: Tensor) -> Tensor:
        """(B, N) the units' weights (B, K), each spread over its support."""
        share = weight / self.mass.clamp_min(torch.finfo(weight.dtype).tiny)
        return torch.einsum("bk,bkg->bg", share, self.place)[:, self.cells] * self.present

    @cached_property
    def attribution(self) -> Tensor:
        """(B, N) the weights of the units, laid out over the elements."""
        return self.laid_out(self.weight)

    @cached_property
    def evidence_map(self) -> Tensor:
        """(B, N) the positive weights only, laid out over the elements."""
        return self.laid_out(self.weight.clamp_min(0))

    @cached_property
    def weight(self) -> Tensor:
        """(B, K) by which units count: contributions to the target's score, else what the explanation ranks by."""
        parts = self.explanation.contributions
        return self.explanation.importance if parts is None else parts

    @cached_property
    def margins(self) -> Tensor:
        """(B, K) contributions to the target's score less the mean of all."""
        return self.subject.margins(self.x, self.target)

    @cached_property
    def absent(self) -> Tensor:
        """(B, K) what these contributions are for the blank input: what is left once all is removed."""
        if len(self.blank) == len(self):
            return self.subject.margins(self.blank, self.target)
        targets = self.target.unique()
        rows = self.subject.margins(self.blank.expand(len(targets), *self.blank.shape[1:]), targets)
        return rows[torch.searchsorted(targets, self.target)]

    @cached_property
    def score(self) -> Tensor:
        """(B,) float64: the target's score less the mean of all."""
        return centred(self.explanation.scores.double(), self.target)

    @cached_property
    def blank_score(self) -> Tensor:
        """(B,) the same of the blank input."""
        scores = self.subject.scores(self.blank).double()
        return centred(scores.expand(len(self), -1), self.target)

    def scores_without(self, masks: Tensor, imputer: Imputer) -> Tensor:
        """(B, n, C) float64 scores once the elements of masks (B, n, N) are imputed."""
        return self.scores_of(lambda rows: imputer(self.x[rows], masks[rows], self.ids[rows]), masks.shape[1])

    def scores_only(self, masks: Tensor) -> Tensor:
        """(B, n, C) float64 scores of the blank input into which the elements of masks (B, n, N) are inserted."""
        inserted = lambda rows: torch.where(  # noqa: E731
            over_input(masks[rows], self.domain), self.x[rows, None], self.blank.expand_as(self.x)[rows, None]
        )
        return self.scores_of(inserted, masks.shape[1])

    def scores_of(self, changed: Callable[[slice], Tensor], count: int) -> Tensor:
        """(B, n, C) float64 scores of `changed(rows)` (b, n, *shape), asked for as many rows as fit in a pass."""
        step = max(self.subject.rows // count, 1)
        parts = []
        for start in range(0, len(self), step):
            x = changed(slice(start, start + step))
            parts.append(self.subject.scores(x.flatten(0, 1)).double().unflatten(0, x.shape[:2]))
        return torch.cat(parts)

    def drops(self, scores: Tensor) -> Tensor:
        """(B, n) by how much the target's centred score is lower in scores (B, n, C)."""
        return self.score[:, None] - centred(scores, self.target[:, None].expand(scores.shape[:2]))
