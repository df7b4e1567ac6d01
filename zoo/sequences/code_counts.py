"""Code counts: each window of a series becomes one of K learned codes, and the score is linear in their counts.

Chen et al.: "EEGFormer: Towards Transferable and Interpretable Large-Scale EEG Foundation Model", arXiv 2401.10278;
bags of patterns: Lin, Khade, Li, JIIS 2012, and Schäfer: "The BOSS is concerned with time series classification in the
presence of noise", DMKD 2015.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.core.terms import without_autocast
from zoo.core.unit_cache import UnitCache
from zoo.domain import Domain, SeriesDomain
from zoo.sequences.layers.code_gallery import CodeGallery
from zoo.sequences.layers.codebook import CodebookOptions
from zoo.sequences.layers.linear_fit import fit_linear_head
from zoo.sequences.layers.window_codes import Coded, WindowCodes
from zoo.sequences.layers.windows import in_steps
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import check_classification, task_loss
from zoo.utils.checks import check_above, check_at_least, check_between
from zoo.utils.options import parse_options

RECIPE = Recipe(
    stages=(
        Stage("train", epochs=60, train=("codes", "head"), cosine=True),
        Stage("fit_head"),
        Stage("gather"),
        Stage("measure", epochs=1, train=()),
    ),
    lr=3e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "reconstruction": 1.0, "commitment": 0.25},
)
MOST = 20_000  # units


@register(
    "code_counts",
    modality="series",
    paper="Chen et al., arXiv 2401.10278 (EEGFormer)",
    small=Small(
        {"window": 4, "width": 8, "codebook": {"codes": 4, "dim": 3}},
        draw={"codes.codebook.codes": 1.0},
        variants={"bigrams": Small({"bigrams": True, "per_sensor": False})},
    ),
)
class CodeCounts(SelfInterpretable):
    """Gives each window of each variable one of K codes, and scores the counts of the codes linearly.

        e = normalise(MLP(window ‖ log(1 + |spectrum|)))    (B, V, P, D)    windows of L steps
        code = argmin_k |e - c_k|²                           (B, V, P)
        n_k = number of windows with code k                  (B, V·K), or (B, K) of all variables: the activation
        score_c = b_c + Σ_k W_ck n_k

    With `bigrams`, the numbers of pairs of codes of successive windows of a variable are further units. The support of
    a code are the steps of the windows that it was given to. Within the sum each window counts W_ck, exactly. A code
    depends on its window alone, but windows overlap. The counts of a variable add up to its number of windows, so that
    fewer of one code are more of others: setting a count is an edit of the score, not of a series.

    Codes follow the encodings by moving averages, see `zoo.sequences.layers.codebook`; the choice has the gradient of a
    softmax. Loss terms: task; reconstruction (mean squared error of windows decoded from their codes); commitment
    (encodings keep near their codes). The action `fit_head` fits W and b anew by penalised logistic regression on the
    counts of the training data; `gather` finds what codes look like: the median of training windows that chose the
    code, and what the decoder makes of it.

    Differs from EEGFormer: counts of codes in place of a transformer over them, which makes the score a sum; a small
    network for windows in the time domain with their spectra (there: patches of the spectrum); codes are trained with
    the classes (there: beforehand, on unlabelled data).

    Args:
        domain: what inputs and outputs mean (`data.domain`): series with classes.
        window: L: a share of the series, or steps.
        stride: between windows, as a share of L.
        width: of the hidden layers.
        codebook: see `zoo.sequences.layers.codebook.CodebookOptions`.
        per_sensor: count each variable's codes separately; all variables share the codes.
        bigrams: also count pairs of codes.
        penalty: of `fit_head`, see `zoo.sequences.layers.linear_fit.fitted`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: codes, head.

    Raises:
        ValueError: inputs other than series, other targets than classes, a number out of range, more than 20,000 units,
            or bigrams of a single window.
    """

    reference = "runner-up"
    default_recipe = RECIPE
    tasks = ("classification",)
    domain: SeriesDomain
    head: nn.Linear

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        window: float = 0.15,
        stride: float = 0.5,
        width: int = 64,
        codebook: CodebookOptions | None = None,
        per_sensor: bool = True,
        bigrams: bool = False,
        penalty: float = 0.1,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        options = parse_options(CodebookOptions, codebook, "codebook")
        self.keep_arguments(locals())
        if not isinstance(self.domain, SeriesDomain):
            raise ValueError(f"CodeCounts reads series; got a domain of {self.domain.noun}.")
        check_classification(self.domain, "CodeCounts")
        check_above(0, penalty=penalty, stride=stride)
        check_between(0, 1, stride=stride)
        check_at_least(1, width=width)
        self.per_sensor, self.bigrams, self.penalty = per_sensor, bigrams, penalty
        steps = in_steps(window, self.domain.length, "window")
        places, each = len(self.domain.variables) if per_sensor else 1, options.codes
        self.places, self.each = places, each
        count = places * each * (1 + bigrams * each)
        if count > MOST:
            raise ValueError(f"{count:,} units are more than {MOST:,}; give fewer codes, or leave out bigrams.")
        self.codes = WindowCodes(self.domain.length, steps, max(round(stride * steps), 1), width, options)
        if bigrams and self.codes.count == 1:
            raise ValueError("bigrams need two windows or more, but one covers the series; give a shorter window.")
        self.head = nn.Linear(count, len(self.domain.classes))
        self.gallery = CodeGallery(each, steps)
        self.used = nn.ModuleDict({f"{split}_used": MeanMetric() for split in ("train", "val", "test")})
        self._units = UnitCache()

    # The computation

    def evidence(self, x: Tensor) -> Evidence:
        with without_autocast(x):  # rounding would choose other codes
            coded = self.codes(x)
            first, second = coded.choice[:, :, :-1], coded.choice[:, :, 1:]
            counts = [coded.choice.sum(2), *([(first.mT @ second).flatten(2)] if self.bigrams else [])]
        activation = torch.cat([self._counts(part) for part in counts], 1)
        state = {"reconstruction": coded.reconstruction, "commitment": coded.commitment}
        return Evidence(activation, None if self.training else self._support(coded), state)

    def _counts(self, counts: Tensor) -> Tensor:
        """Counts (B, V, n) as activations."""
        return counts.flatten(1) if self.per_sensor else counts.sum(1)

    def _support(self, coded: Coded) -> Tensor:
        """(B, units, T, V) in {0, 1}."""
        choice, cover = coded.choice, self.codes.covered().to(coded.choice)
        parts = [self._placed(choice, cover)]
        if self.bigrams:
            pairs = choice[:, :, :-1, :, None] * choice[:, :, 1:, None]  # (B, V, P - 1, K, K)
            parts.append(self._placed(pairs.flatten(3), (cover[:-1] + cover[1:]).clamp_max(1)))
        return torch.cat(parts, 1)

    def _placed(self, fired: Tensor, cover: Tensor) -> Tensor:
        """Where (B, V, P, n) fired, as (B, V·n or n, T, V)."""
        steps = ((fired.mT @ cover) > 0).float()  # (B, V, n, T)
        if not self.per_sensor:
            return steps.permute(0, 2, 3, 1)
        own = torch.eye(steps.shape[1], device=steps.device)[:, None, None]  # (V, 1, 1, V)
        return (steps[..., None] * own).flatten(1, 2)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {
            "task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights")),
            "reconstruction": evidence.state["reconstruction"].mean(),
            "commitment": evidence.state["commitment"].mean(),
        }

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        used = self.used[f"{split}_used"]
        assert isinstance(used, MeanMetric)
        singles = evidence.activation[:, : self.places * self.each].detach()
        used.update((singles > 0.5).float().sum(1))
        return {**super().update_metrics(split, scores, evidence, batch), "codes_used": used}

    # Units

    def units(self) -> tuple[Unit, ...]:
        return self._units.get((self.gallery.median, self.gallery.windows), self._build_units)

    def _build_units(self) -> list[Unit]:
        sources, sensors = self.gallery.sources(self.domain), self.domain.variables
        ends = [f" of {name}" for name in sensors] if self.per_sensor and len(sensors) > 1 else [""]
        found = [
            Unit(f"pattern {k + 1}{end}", "code", source=source) for end in ends for k, source in enumerate(sources)
        ]
        if self.bigrams:
            numbers = range(1, self.each + 1)
            found += [
                Unit(f"pattern {a}, then {b}{end}", "pair of codes") for end in ends for a in numbers for b in numbers
            ]
        return found

    # Actions

    @action
    def fit_head(self, projection_set: ProjectionSet) -> None:
        """Fits the head by penalised logistic regression on the counts of the training data."""
        fit_linear_head(self, projection_set, self.penalty)

    @action
    def gather(self, projection_set: ProjectionSet) -> None:
        """Finds what the codes look like in the training series."""
        self.gallery.fill(projection_set, self.codes)
