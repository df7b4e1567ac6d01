"""M9: does the explanation depend on the learned parameters?"""

import zlib
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric, spearman
from zoo.metrics.faithfulness.subject import Case, Subject

PARTS = ("everything", "trunk", "head")
VOID = 0.9  # if two random models correlate more than this, the metric is undefined


class ParameterRandomisation(FaithfulnessMetric):
    """The change of the evidence if the learned parameters are replaced by random ones.

        1 - (Spearman(A, A of the model with random parameters) - Spearman(A₁, A₂ of two random models))

    A is the map of positive contributions over the input, for the class that is explained; units need not match, and
    padding is excluded. About 1 is ideal; 0 means that the explanation does not depend on the parameters. The maps of
    two random models are correlated already, because both see the same input, so this correlation is subtracted.

        everything, trunk, head   the parameters replaced: all, all but those of `model.head`, or only these
        two random models         the correlation that is subtracted; if its mean exceeds 0.9 the explanation shows
                                  the input instead of the model, and the other columns are undefined

    Models without a `head` have no value for "trunk" and "head"; samples without positive evidence have no values. The
    correlation with a constant map is 0, so read this metric beside contrastivity (M8). After Adebayo et al.: "Sanity
    Checks for Saliency Maps", NeurIPS 2018, arXiv 1810.03292, section 3.

    Args:
        subject: the subject to evaluate; copied three or four times at construction.
        seed: of the random parameters.
    """

    key, title = "M9", "parameter randomisation"
    columns = (*(Column(part, 1, None, 1.0) for part in PARTS), Column("two random models", -1))
    needs = ("support",)

    def __init__(self, subject: Subject, seed: int = 0) -> None:
        super().__init__()
        self.subject = subject.name
        headed = isinstance(getattr(subject.model, "head", None), nn.Module)
        self.copies = {part: randomised(subject, seed, part) for part in (PARTS if headed else PARTS[:1])}
        self.other = randomised(subject, seed + 1)

    def per_sample(self, case: Case) -> Tensor:
        if case.subject.name != self.subject:
            raise ValueError(
                f"{self.title} was made for {self.subject}; got a case of {case.subject.name}. Make a metric for each."
            )
        maps = {part: evidence_of(subject, case) for part, subject in self.copies.items()}
        null = spearman(maps["everything"], evidence_of(self.other, case), case.present)
        correlations = [
            spearman(case.evidence_map, maps[part], case.present) if part in maps else torch.full_like(null, torch.nan)
            for part in PARTS
        ]
        none = (case.evidence_map > 0).sum(1, keepdim=True) == 0
        return torch.stack([*(1 - (value - null) for value in correlations), null], 1).masked_fill(none, torch.nan)

    def summarise(self, rows: Tensor) -> Tensor:
        means = super().summarise(rows)
        void = (means[..., -1:] > VOID) & (torch.arange(len(self.names), device=rows.device) < len(PARTS))
        return means.masked_fill(void, torch.nan)


def evidence_of(subject: Subject, case: Case) -> Tensor:
    """(B, N) the positive evidence of another subject for the same inputs and classes."""
    return Case(subject, case.x, case.ids, case.target).evidence_map


def randomised(subject: Subject, seed: int, part: str = "everything") -> Subject:
    """A copy of a subject whose model has random parameters; the original and the random state are not changed.

    Modules with `reset_parameters` are initialised again, running statistics included. The entries of other parameters
    and of persistent floating-point buffers, such as prototypes, are permuted, so that they keep their mean, spread and
    range; scalars, such as temperatures, stay the same.

    Args:
        subject: the original.
        seed: of the parameters.
        part: "everything", "trunk" (all but `model.head`), or "head".
    """
    trainer = getattr(subject.model, "_trainer", None)
    copied = deepcopy(subject, {id(trainer): None, id(subject.domain): subject.domain})
    copied.forget()
    head = set(copied.model.head.modules()) if part != "everything" else set()
    chosen: Callable[[nn.Module], bool] = lambda m: part == "everything" or (m in head) == (part == "head")  # noqa: E731
    with torch.random.fork_rng(range(torch.cuda.device_count())), torch.no_grad():
        torch.manual_seed(zlib.crc32(f"randomised {seed}".encode()))  # differs from the seed of the training
        for module in filter(chosen, copied.model.modules()):
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
            else:
                permute(module)
    return copied


def permute(module: nn.Module) -> None:
    """Permutes the entries of floating-point parameters and persistent buffers of a module, without its children."""
    kept = (b for name, b in module.named_buffers(recurse=False) if name not in module._non_persistent_buffers_set)
    for values in (*module.parameters(recurse=False), *kept):
        if values.is_floating_point():
            order = torch.randperm(values.numel(), device=values.device)
            values.copy_(values.flatten()[order].view_as(values))
