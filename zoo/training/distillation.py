"""Distillation: a trained black box gives soft targets for any model.

Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531.
"""

from itertools import dropwhile
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.domain import Domain
from zoo.networks.target_units import mean_square_unit
from zoo.training.batch import Batch
from zoo.training.black_box_file import load_network
from zoo.training.modes import evaluating
from zoo.training.tasks import as_logits
from zoo.training.teacher import Teacher

WRAPPERS = ("backbone", "encoder")  # modules around the same backbone in different models
UNREAD = ("concepts", "concept_groups", "exclusive")  # what a black box does not use of a domain


class DistillationTerm:
    """The loss of a student f against its teacher g, which is frozen and no part of the student's checkpoints.

        distillation = T² KL(softmax(g(x) / T) || softmax(f(x) / T))        of a student with logits f
                     = KL(softmax(g(x) / T) || f(x))                        of a student with probabilities f
                     = mean squared error in units of the targets           of a regression

    Args:
        options: see `Teacher`.
        domain: of the student.

    Raises:
        FileNotFoundError: there is no such teacher.
        ValueError: the file of the teacher is damaged, or its inputs or classes are not those of the student.
    """

    def __init__(self, options: Teacher, domain: Domain) -> None:
        self.options = options
        self.network = load_network(options.file).requires_grad_(False)
        if found := differences(self.network.domain, domain):
            raise ValueError(f"the teacher {options.run} does not fit these data: {'; '.join(found)}.")

    def __call__(self, model: Any, batch: Batch, scores: Tensor) -> dict[str, Tensor]:
        """The weighted term of a batch by name.

        Args:
            model: the student.
            batch: of the step.
            scores: of the student (B, C).
        """
        with torch.no_grad():
            wanted = self.network.to(scores.device)(batch["input"]).float()
        space = getattr(model, "space", "logit")
        return {"distillation": self.options.weight * self.loss(as_logits(scores, space), wanted, space)}

    def loss(self, logits: Tensor, wanted: Tensor, space: str = "logit") -> Tensor:
        """The loss of the student's logits, or logarithms of probabilities, (B, C) against the teacher's logits."""
        if self.network.domain.task != "classification":
            return F.mse_loss(logits, wanted) / mean_square_unit(self.network)
        heat = self.options.temperature
        teacher = (wanted / heat).log_softmax(1)
        if space == "probability":  # softened twice, a mean of many leaves would have to be sharper than its teacher
            return F.kl_div(logits, teacher, reduction="batchmean", log_target=True)
        return heat**2 * F.kl_div((logits / heat).log_softmax(1), teacher, reduction="batchmean", log_target=True)

    @torch.no_grad()
    def shares(self, backbone: nn.Module, x: Tensor) -> bool:
        """Whether the teacher has this backbone, with the same weights: whether both compute the same of an input."""
        own = [module for module in self.network.modules() if type(module) is type(backbone)]
        if len(own) != 1 or {k: v.shape for k, v in own[0].state_dict().items()} != {
            k: v.shape for k, v in backbone.state_dict().items()
        }:
            return False
        device = next(iter(backbone.state_dict().values())).device
        with evaluating(backbone):
            return torch.equal(own[0].to(device)(x.to(device)), backbone(x.to(device)))


@torch.no_grad()
def copy_weights(teacher: nn.Module, student: nn.Module) -> None:
    """Copies the backbone of a teacher into a student, and the head if it has the same shape.

    A student whose layers are not those of its teacher has a method `copy_teacher`, which is called instead.

    Raises:
        ValueError: the student has another backbone.
    """
    if own := getattr(student, "copy_teacher", None):
        own(teacher)
        return
    theirs, ours = (_inner(model) for model in (teacher, student))
    for name, value in theirs.items():
        found = ours.get(name)
        if found is not None and found.shape == value.shape:
            found.copy_(value)
        elif not name.startswith("head."):
            raise ValueError(
                f"teacher.start copies the teacher's backbone, but {type(student).__name__} has another one "
                f"('{name}' {tuple(value.shape)} does not fit); give both the same backbone, or leave start out."
            )


def _inner(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of backbone and head by name, without the names of wrappers around the backbone."""
    found = {}
    for name, tensor in model.state_dict().items():
        parts = name.split(".")
        if parts[0] == "head":
            found[name] = tensor
        elif parts[0] == "backbone":
            found[".".join(dropwhile(lambda part: part in WRAPPERS, parts))] = tensor
    return found


def differences(teacher: Domain, student: Domain) -> list[str]:
    """What differs between two domains in what a black box reads and predicts, in words."""
    theirs, ours = teacher.to_dict(), student.to_dict()
    names = [name for name in ours if name not in UNREAD and theirs.get(name) != ours[name]]
    if "modality" in names:
        return [f"it reads {teacher.noun}, not {student.noun}"]
    return [f"{name}: {_short(theirs[name])} of the teacher, {_short(ours[name])} of the data" for name in names]


def _short(value: Any) -> str:
    if isinstance(value, list | tuple | dict) and len(str(value)) > 60:
        return f"{len(value)} ({str(value)[:40]}...)"
    return str(value)[:60]
