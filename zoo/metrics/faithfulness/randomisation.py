"""M9: does the explanation depend on what the model has learned?"""

import zlib
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from zoo.metrics.faithfulness.base import FaithfulnessMetric, spearman
from zoo.metrics.faithfulness.subject import Case, Subject

PARTS = ("everything", "trunk", "head")
VOID = 0.9  # random models that agree so well leave nothing to be learned from trained ones


class ParameterRandomisation(FaithfulnessMetric):
    """How far the evidence moves once what the model has learned is taken away.

        1 - (Spearman(A, A of the model with random parameters) - Spearman(A₁, A₂ of two random models))

    A is the map of positive contributions over the input, for the class that the trained model is asked about; units
    need not match, and absent elements do not count. About 1 is ideal, 0 is an explanation that does not care. Two
    random models give maps that are correlated already, as both see the same input, so only what is above that counts.

        everything, trunk, head   what is random: all parameters, all but those of `model.head`, or these alone
        two random models         the correlation that is subtracted; where its mean is above 0.9 the explanation
                                  shows the input instead of the model, and the others have no value

    Models without a head of their own have no value for "trunk" and "head", samples without positive evidence none at
    all. A constant map correlates with nothing: read it beside contrastivity (M8). After Adebayo et al.: "Sanity Checks
    for Saliency Maps", NeurIPS 2018, arXiv 1810.03292, section 3.

    Args:
        subject: what is measured; its copies are made here, once.
        seed: of the random parameters.
    """

    key, title = "M9", "parameter randomisation"
    names, directions = (*PARTS, "two random models"), (1, 1, 1, -1)
    chances, ideals = (None,) * 4, (1.0, 1.0, 1.0, None)
    needs = ("support",)

    def __init__(self, subject: Subject, seed: int = 0) -> None:
        super().__init__()
        self.subject = subject.name
        headed = isinstance(getattr(subject.model, "head", None), nn.Module)
        self.copies = {part: randomised(subject, seed, part) for part in (PARTS if headed else PARTS[:1])}
        self.other = randomised(subject, seed + 1)

    def measure(self, case: Case) -> Tensor:
        if case.subject.name != self.subject:
            raise ValueError(
                f"{self.title} has random copies of {self.subject}, and got a case of {case.subject.name}; make one "
                "metric for each subject."
            )
        maps = {part: evidence_of(subject, case) for part, subject in self.copies.items()}
        null = spearman(maps["everything"], evidence_of(self.other, case), case.present)
        alike = [
            spearman(case.evidence_map, maps[part], case.present) if part in maps else torch.full_like(null, torch.nan)
            for part in PARTS
        ]
        none = (case.evidence_map > 0).sum(1, keepdim=True) == 0
        return torch.stack([*(1 - (value - null) for value in alike), null], 1).masked_fill(none, torch.nan)

    def summarise(self, rows: Tensor) -> Tensor:
        means = super().summarise(rows)
        void = (means[..., -1:] > VOID) & (torch.arange(len(self.names), device=rows.device) < len(PARTS))
        return means.masked_fill(void, torch.nan)


def evidence_of(subject: Subject, case: Case) -> Tensor:
    """(B, N) the positive evidence that another subject has for the same inputs and classes."""
    return Case(subject, case.x, case.ids, case.target).evidence_map


def randomised(subject: Subject, seed: int, part: str = "everything") -> Subject:
    """A copy of a subject whose model has random parameters; neither the original nor any random state is touched.

    Modules that have `reset_parameters` are initialised anew by it, with running statistics and all. What other modules
    own themselves, such as prototypes, is permuted: parameters, and the buffers of numbers that a checkpoint keeps. So
    values keep their mean, their spread and their range, and single numbers, such as temperatures, stay.

    Args:
        subject: the original.
        seed: of the parameters.
        part: "everything", "trunk" (all but `model.head`), or "head".
    """
    trainer = getattr(subject.model, "_trainer", None)
    copied = deepcopy(subject, {id(trainer): None, id(subject.domain): subject.domain})
    head = set(copied.model.head.modules()) if part != "everything" else set()
    chosen: Callable[[nn.Module], bool] = lambda m: part == "everything" or (m in head) == (part == "head")  # noqa: E731
    with torch.random.fork_rng(range(torch.cuda.device_count())), torch.no_grad():
        torch.manual_seed(zlib.crc32(f"randomised {seed}".encode()))  # not the seed that the model itself began with
        for module in filter(chosen, copied.model.modules()):
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
            else:
                permute(module)
    return copied


def permute(module: nn.Module) -> None:
    """Permutes each parameter, and each kept buffer of floating-point numbers, that a module owns itself."""
    kept = (b for name, b in module.named_buffers(recurse=False) if name not in module._non_persistent_buffers_set)
    for values in (*module.parameters(recurse=False), *kept):
        if values.is_floating_point():
            order = torch.randperm(values.numel(), device=values.device)
            values.copy_(values.flatten()[order].view_as(values))
