"""Predictive codes: sparse codes of a network's activations that tell what it answers when the input is changed.

Huang et al. (Transluce): "Predictive Concept Decoders: Training Scalable End-to-End Interpretability Assistants", 2025,
arXiv 2512.15712, with a linear decoder in place of a language model.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.concepts.layers.atom_names import AtomNames
from zoo.concepts.layers.atom_units import atom_units
from zoo.concepts.layers.cells import Cells, cells_of
from zoo.concepts.layers.code_kinds import make_dictionary
from zoo.concepts.layers.code_metrics import ExplainedVariance
from zoo.concepts.layers.dictionary_start import measure
from zoo.concepts.layers.questions import Questions
from zoo.concepts.layers.sparse_codes import CodeOptions
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.core.training_examples import TrainingExamples
from zoo.core.unit_cache import UnitCache
from zoo.domain import Domain, ImageDomain
from zoo.networks.encoders import create_encoder
from zoo.networks.image_backbones import create_backbone
from zoo.training.batch import Batch
from zoo.training.modes import action, evaluating
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe, parse_recipe
from zoo.training.stages import Stage
from zoo.training.tasks import check_classification, task_loss
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.functional import at_least_fp32
from zoo.utils.options import parse_options

LEARN_FROM = ("behaviour", "reconstruction")


def recipe_of(own_head: bool) -> Recipe:
    """The default recipe; with `own_head` the head of the subject is trained first, for lack of a black box."""
    return Recipe(
        stages=(
            *((Stage("head", epochs=10, train=("head",)),) if own_head else ()),
            Stage("centre"),
            Stage("code", epochs=20, train=("code", "decoder"), cosine=True),
            Stage("gallery"),
            Stage("measure", epochs=1, train=()),
        ),
        lr=3e-3,
        weight_decay=0.0,
        optimizer="adam",
        coefficients={"task": 1.0, "answers": 1.0, "scores": 1.0, "reconstruction": 0.1, "auxiliary": 1 / 32},
    )


@register(
    "predictive_codes",
    modality=("table", "image", "text", "series"),
    paper="Transluce, 2025, arXiv 2512.15712",
    small=Small(
        {"code": {"atoms": 6, "active": 3}, "gallery_size": 2},
        scale={"decoder.weight": 5.0},
        variants={"text": Small({"swaps": ["good"]}, on="text"), "image": Small(on="image")},
    ),
)
class PredictiveCodes(SelfInterpretable):
    """Codes the activations of a frozen classifier such that its answers to changed inputs follow linearly.

        f_p = mean of the subject's features over part p                     (B, P, d)
        z = sparse code of (f_1, ..., f_P)                                   (B, m)    at least 0: the activation
        score_c = Σ_k z_k V_0ck + b_0c        as the subject scores the input
        answer_qc = Σ_k z_k V_qck + b_qc      the change of its scores, less their mean, when question q changes it

    The encoder never sees a question: a concept is what helps a linear decoder to tell many answers. Questions replace
    each part of the input, see `Questions`; both sums are exact over concepts, but they predict what the subject
    answers, and are not its computation. How well they do is the metric `answers_r2`. Explanations have the detail
    "answers" (B, K, Q): what each concept adds to the change of the target's score for each question.

    Start from a trained black box by `teacher: {run: ..., start: true, weight: 0}` of the recipe; without one, the
    first stage trains the linear head of the subject on the backbone as it is; it can train the whole subject. Loss
    terms: answers and scores (squared errors, relative to the variance of the answers and scores); reconstruction and
    auxiliary of the code, see `zoo.concepts.layers.sparse_codes.Dictionary`; task (of the subject's head).

    Differs from the published code: the subject is a classifier, the decoder is linear and has one set of weights for
    each of Q fixed questions (there: a language model that reads the code as tokens), and dead concepts learn from the
    error of reconstruction.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: of the subject, see `zoo.networks.encoders.create_encoder`.
        code: see `zoo.concepts.layers.sparse_codes.CodeOptions`.
        learn_from: "behaviour": the code learns what the decoder needs; "reconstruction": it learns to reconstruct the
            features alone, like a sparse autoencoder, and the decoder learns on it as it is, for comparison.
        swaps: words that questions about texts put in place of a part.
        asked: number of questions of each training step, drawn at random.
        gallery_size: number of training examples for each concept.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, head, code, decoder.

    Raises:
        ValueError: a task other than classification, an unknown choice, or a number out of range.
    """

    reference = "runner-up"
    default_recipe = recipe_of(own_head=True)
    unit: Tensor
    typical: Tensor
    spread: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any],
        code: CodeOptions | None = None,
        learn_from: Literal["behaviour", "reconstruction"] = "behaviour",
        swaps: tuple[str, ...] = (),
        asked: int = 3,
        gallery_size: int = 4,
        recipe: Recipe | None = None,
    ) -> None:
        options = parse_options(CodeOptions, code, "code")
        check_choice(LEARN_FROM, learn_from=learn_from)
        check_at_least(1, asked=asked, gallery_size=gallery_size)
        teacher = parse_recipe(recipe).teacher
        taught = teacher is not None and teacher.start
        super().__init__(domain, recipe, default_recipe=recipe_of(own_head=not taught))
        self.keep_arguments(locals())
        check_classification(self.domain, "PredictiveCodes")
        if isinstance(self.domain, ImageDomain):
            self.backbone = create_backbone(backbone, self.domain.channels)
        else:
            self.backbone = create_encoder(backbone, self.domain)
        classes = len(self.domain.classes)
        self.questions = Questions(self.domain, tuple(swaps))
        self.learn_from, self.asked = learn_from, min(asked, self.questions.count)
        placed = self.domain.modality != "table"
        self.code = make_dictionary(self.backbone.channels * (self.questions.parts if placed else 1), options)
        self.head = nn.Linear(self.backbone.channels, classes)
        self.decoder = nn.Linear(options.atoms, (1 + self.questions.count) * classes)
        nn.init.zeros_(self.decoder.bias)
        self.images, self.names = TrainingExamples(options.atoms, gallery_size, cells=False), AtomNames(options.atoms)
        self.register_buffer("unit", torch.ones(1 + self.questions.count))
        self.register_buffer("typical", torch.zeros(1 + self.questions.count, classes))
        self.register_buffer("spread", torch.ones(()))
        self.r2 = nn.ModuleDict({f"{split}_answers_r2": ExplainedVariance() for split in ("val", "test")})
        self._units = UnitCache()

    # The computation

    def evidence(self, x: Tensor) -> Evidence:
        cells = cells_of(self.backbone, x)
        found = self.code(self._parts(cells, x))
        state = {"error": found.error, "auxiliary": found.auxiliary.expand(x.shape[0])}
        return Evidence(found.code / self.code.scale, None, state | {"subject": self._subject(cells)})

    def _parts(self, cells: Cells, x: Tensor) -> Tensor:
        """Features of all parts of inputs, one after the other (B, P d)."""
        if cells.grid is None:  # one vector, which has no place
            vector = cells.features[:, 0]
            return vector.repeat(1, len(self.code.mean) // vector.shape[1])
        return self.questions.pooled(cells.features, cells.share, tuple(cells.grid), x).flatten(1)

    def _subject(self, cells: Cells) -> Tensor:
        return self.head(cells.mean(cells.features))

    def weights(self) -> tuple[Tensor, Tensor]:
        """V (1 + Q, C, m) and b (1 + Q, C) of scores and answers, in fp32."""
        weight = at_least_fp32(self.decoder.weight).unflatten(0, self.typical.shape)
        bias = at_least_fp32(self.decoder.bias).view(self.typical.shape)
        return self.unit[:, None, None] * weight, self.unit[:, None] * bias + self.typical

    def readout(self, evidence: Evidence) -> Tensor:
        weight, bias = self.weights()
        return F.linear(evidence.activation, weight[0], bias[0])

    def answers(self, evidence: Evidence) -> Tensor:
        """What the subject is predicted to answer, (B, Q, C), see above."""
        weight, bias = self.weights()
        return torch.einsum("bk,qck->bqc", evidence.activation, weight[1:]) + bias[1:]

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = self.weights()
        return evidence.activation * weight[0, target], bias[0, target]

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        weight, bias = self.weights()
        return evidence.activation * weight[0].mean(0), bias[0].mean().expand(evidence.activation.shape[0])

    def slopes(self, evidence: Evidence) -> Tensor:
        return self.weights()[0][0].T[None]

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """The contribution of each concept to the change of the target's score for each question (B, K, Q)."""
        weight = self.weights()[0][1:, target].movedim(0, 2)  # (B, m, Q)
        return {"answers": evidence.activation[..., None] * weight}

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        text = "The score is what the concepts predict of the network's score, which is not computed from them."
        return (text,) * len(terms["activation"])

    # Training

    @torch.no_grad()
    def ask(self, x: Tensor, scores: Tensor, questions: list[int]) -> Tensor:
        """What the subject really answers, (B, q, C), for some questions about inputs with known scores (B, C)."""
        found = []
        with evaluating(self.backbone):
            for q in questions:
                changed = self._subject(cells_of(self.backbone, self.questions.ask(x, q))) - scores
                found.append(changed - changed.mean(1, keepdim=True))
        return torch.stack(found, 1)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        learns = self.stage.trained if self.training and self.stage is not None else ()
        subject, target = evidence.state["subject"], batch["target"]
        if "head" in learns:
            return {"task": task_loss(subject, target, self.domain, batch.get("class_weights"))}
        count = self.questions.count
        chosen = torch.randperm(count)[: self.asked].tolist() if self.training else list(range(count))
        real = self.ask(batch["input"], subject, chosen)
        if self.learn_from == "reconstruction":
            evidence = Evidence(evidence.activation.detach(), None, evidence.state)
            scores = self.readout(evidence)
        error = (self.answers(evidence)[:, chosen] - real) / self.spread
        return {
            "answers": error.square().sum(2).mean(),
            "scores": ((scores - subject.detach()) / self.unit[0]).square().mean(),
            "reconstruction": evidence.state["error"].mean(),
            "auxiliary": evidence.state["auxiliary"].mean(),
        }

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        found = super().update_metrics(split, scores, evidence, batch)
        if split == "train":
            return found
        real = self.ask(batch["input"], evidence.state["subject"], list(range(self.questions.count)))
        metric = self.r2[f"{split}_answers_r2"]
        assert isinstance(metric, ExplainedVariance)
        error = (self.answers(evidence) - real).square().sum((1, 2))
        metric.update(error, (real - self.typical[1:]).square().sum((1, 2)))
        return {**found, "answers_r2": metric}

    def check_recipe(self) -> None:
        teacher, coded = self.recipe.teacher, False
        for stage in self.stages:
            coded = coded or stage.name == "centre"
            if coded and {"backbone", "head"} & set(stage.trained):
                raise ValueError(f"stage '{stage.name}' trains the subject after {{name: centre}}, which measured it.")
            if not coded and {"code", "decoder"} & set(stage.trained):
                raise ValueError(f"stage '{stage.name}' trains codes of features; add {{name: centre}} before it.")
        trained = {group for stage in self.stages for group in stage.trained}
        if not {"code", "decoder"} <= trained:
            raise ValueError("no stage trains code and decoder; add one with train: [code, decoder].")
        if "head" not in trained and not (teacher and teacher.start):
            raise ValueError(
                "no stage trains the subject's head; add one with train: [head], or take backbone and head from a "
                "black box: teacher: {run: ..., start: true, weight: 0}."
            )

    def on_stage_start(self, stage: Stage) -> None:
        if "code" in stage.trained:
            self.images.clear()

    # Concepts

    def units(self) -> tuple[Unit, ...]:
        return self._units.get((self.images.index, self.names.concept), self._build_units)

    def _build_units(self) -> list[Unit]:
        return atom_units(self.names, self.images, self.domain, residual=False)

    @action
    def centre(self, projection_set: ProjectionSet) -> None:
        """Measures mean and scale of the features, and of the subject's scores and answers, of the training set."""
        self.questions.measure(projection_set)
        features = (self._parts(cells_of(self.backbone, b["input"]), b["input"]) for b in projection_set)
        measure(self.code, features, projection_set.total)
        sums, squares, every = torch.zeros_like(self.typical), torch.zeros_like(self.unit), range(self.questions.count)
        for batch in projection_set:
            scores = self._subject(cells_of(self.backbone, batch["input"]))
            told = torch.cat([scores[:, None], self.ask(batch["input"], scores, list(every))], 1)  # (B, 1 + Q, C)
            sums += told.sum(0)
            squares += told.square().mean(2).sum(0)
        mean = projection_set.total(sums) / len(projection_set)
        variance = projection_set.total(squares) / len(projection_set) - mean.square().mean(1)
        self.typical.copy_(mean)
        self.unit.copy_(variance.clamp_min(1e-12).sqrt())
        self.spread.copy_((self.unit[1:].square().mean() * mean.shape[1]).sqrt())

    @action
    def gallery(self, projection_set: ProjectionSet) -> None:
        """Finds the top-activating training examples of each concept."""
        self.images.find(projection_set, lambda x: self.evidence(x).activation)
