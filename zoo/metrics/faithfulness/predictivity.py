"""M15: do the units tell how the model will behave where it was not asked before?"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric
from zoo.metrics.faithfulness.elements import TIMED, TOKENS, element_shape
from zoo.metrics.faithfulness.imputers import Imputer
from zoo.metrics.faithfulness.subject import Case

SIDE = 3  # an image has SIDE x SIDE blocks, other inputs as many parts
MOST = 2000  # samples that the linear decoder is fitted to
PENALTIES = tuple(10.0**k for k in range(-4, 5))  # relative to the mean eigenvalue


class Predictivity(FaithfulnessMetric):
    """How well a linear decoder predicts from the units' activations what the model answers to changed inputs.

    The questions are the same for all samples: each of nine parts of the input is replaced (blocks of an image, spans
    of time or text, sets of features). The answer is the change of all scores, each minus the mean of the scores. A
    ridge regression predicts the answers to all questions from the activations; each sample is predicted by the
    regression of the others (leave-one-out, in closed form), and the penalty is the best one of nine.

        units   1 - sum of squared errors / that of the mean answer of the other samples; 1 is ideal, at most 0 is
                chance
        scores  the same, from the scores in place of the activations: what is known without an explanation
        gain    units minus scores

    After Transluce: "Predictive Concept Decoders", 2025, arXiv 2512.15712, section 3, with the model's own answers to
    fixed interventions in place of questions to a language model. Intervals are over samples, for the one set of
    regressions.

    Args:
        imputers: replacements for removed parts; answers are means over them.
    """

    key, title = "M15", "predictivity"
    needs = ("units",)
    columns = (Column("units", 1, 0.0, 1.0), Column("scores", 0, 0.0, 1.0), Column("gain", 1, 0.0))

    def __init__(self, imputers: Sequence[Imputer]) -> None:
        super().__init__()
        self.imputers = tuple(imputers)
        self.widths: tuple[int, int] = (0, 0)

    def per_sample(self, case: Case) -> Tensor:
        """(B, K + C + Q C): activations, scores and answers."""
        masks = parts_of(case)
        scores = case.explanation.scores.double()
        changed = torch.stack([case.scores_without(masks, imputer) for imputer in self.imputers]).mean(0)
        answers = relative(changed) - relative(scores)[:, None]
        activation = case.explanation.activation.double()
        self.widths = (activation.shape[1], scores.shape[1])
        return torch.cat([activation, scores, answers.flatten(1)], 1)

    def samples(self) -> Tensor:
        """(N, 3) squared errors of each sample: from the units, from the scores, and of the mean answer."""
        values = super().samples()[:MOST]
        if len(values) < 3:
            return values.new_full((len(values), 3), torch.nan)
        units, scores = self.widths
        answers = values[:, units + scores :]
        count = len(values)
        around_mean = (answers - answers.mean(0)) * count / (count - 1)  # the mean of the others
        errors = [leave_one_out(part, answers) for part in (values[:, :units], values[:, units : units + scores])]
        return torch.stack([e.square().sum(1) for e in (*errors, around_mean)], 1)

    def summarise(self, rows: Tensor) -> Tensor:
        units, scores, mean = rows.sum(-2).unbind(-1)
        found = [torch.where(mean > 0, 1 - error / mean, torch.nan) for error in (units, scores)]
        return torch.stack([*found, found[0] - found[1]], -1)


def relative(scores: Tensor) -> Tensor:
    """Scores (..., C) minus their mean; a single one as it is."""
    return scores - scores.mean(-1, keepdim=True) if scores.shape[-1] > 1 else scores


def leave_one_out(inputs: Tensor, answers: Tensor) -> Tensor:
    """Errors (N, A) of the best ridge regression of answers (N, A) on inputs (N, K), each row predicted by the others.

    Columns of inputs are standardised over all rows; constant ones are left out.
    """
    deviation = inputs.std(0)
    used = deviation > 1e-9 * inputs.abs().amax(0).clamp_min(1e-300)
    x = ((inputs - inputs.mean(0)) / deviation)[:, used]
    y = answers - answers.mean(0)
    values, vectors = torch.linalg.eigh(x @ x.T)
    values = values.clamp_min(0)
    turned = vectors.T @ y
    best, least = y, math.inf
    for penalty in PENALTIES:
        shrunk = values / (values + penalty * values.mean().clamp_min(1e-12))
        leverage = (vectors.square() * shrunk).sum(1) + 1 / len(x)  # the last of the intercept
        errors = (y - (vectors * shrunk) @ turned) / (1 - leverage).clamp_min(1e-9)[:, None]
        if (total := errors.square().sum().item()) < least:
            best, least = errors, total
    return best


def parts_of(case: Case) -> Tensor:
    """(B, Q, N) bool: the elements of each part, the same parts for all samples."""
    shape = element_shape(case.domain)
    if case.domain.modality in TOKENS:  # parts of each text
        order = case.present.cumsum(1) - 1
        length = case.present.sum(1, keepdim=True).clamp_min(1)
        part = order * SIDE**2 // length
    elif case.domain.modality == "image":
        rows, columns = (torch.arange(side, device=case.x.device) * SIDE // side for side in shape)
        part = (rows[:, None] * SIDE + columns).flatten()[None]
    elif case.domain.modality in TIMED:
        part = (torch.arange(shape[0], device=case.x.device) * SIDE**2 // shape[0]).repeat_interleave(shape[1])[None]
    else:
        count = math.prod(shape)
        part = (torch.arange(count, device=case.x.device) * min(SIDE**2, count) // count)[None]
    masks = part[:, None] == torch.arange(int(part.max()) + 1, device=case.x.device)[:, None]
    return masks.expand(len(case), -1, -1) & case.present[:, None]
