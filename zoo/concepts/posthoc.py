"""Post-hoc concept bottleneck models: concept activation vectors on a frozen backbone, with an optional residual.

Yuksekgonul, Wang, Zou: "Post-hoc Concept Bottleneck Models", ICLR 2023, arXiv 2205.15480.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.concepts.layers.hyperplane import fit_hyperplane
from zoo.concepts.layers.projection import collect, random_directions
from zoo.concepts.layers.score_file import align, columns_of, read_scores, refuse_scores
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.networks.sparse_linear import saga
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import check_classification, task_loss
from zoo.utils.checks import check_at_least
from zoo.utils.functional import at_least_fp32

RECIPE = Recipe(
    stages=(
        Stage("learn_bank"),
        Stage("sparsify"),
        Stage("measure", epochs=1, train=()),
    ),
    lr=0.01,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "residual": 1e-3},
)


@register(
    "posthoc",
    modality=("image", "table", "text"),
    paper="Yuksekgonul et al., ICLR 2023",
    small=Small(
        {"epochs": 5},
        on="table",
        variants={
            "hybrid": Small({"residual": True}, draw={"residual.weight": 1.0}),
            "random": Small({"bank": "random"}),
        },
    ),
)
class PostHocCBM(SelfInterpretable):
    """Computes concepts from a frozen backbone as distances to hyperplanes, and sparse scores from the concepts.

        m_j = (v_j · h + b_j) / |v_j|, h = backbone(x)      (B, k)   signed margin to the concept's hyperplane
        score = W m + b                                              sparse: cross-entropy + λ (0.99 |W|₁ + 0.005 |W|²)
        score = W m + b + W_r h                                      with `residual` (PCBM-h)

    The residual path is a unit of its own, named "residual", with activation 1 and contribution W_r[c]·h to class c.
    Set it to 0 to see the model without it.

    Recipe: the actions `learn_bank` (a linear support vector machine for each concept, its strength chosen on held-out
    items) and `sparsify`, then an epoch that only measures; with a residual, a stage that trains the group `residual`
    alone (published: Adam 0.01, 20 epochs).

    Differs from the published code: one multinomial head instead of one-against-rest classifiers; concepts without
    annotation come from the scores of an image-text encoder, for any backbone (published: the text vectors, for the
    backbone of CLIP); `bank="random"` is the control with random hyperplanes, to compare with.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: see `zoo.networks.encoders.create_encoder`; frozen.
        bank: source of the hyperplanes: "annotations", "random", or a file of `train.py score-concepts`, whose highest
            scores of a concept mark present items and whose lowest scores mark absent ones.
        examples: maximum number of present and of absent training items for each concept.
        concepts: names; by default those of the data, or of the file.
        lam: λ.
        epochs: maximum number of epochs of the solver of the head.
        residual: add the residual path W_r h.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: concepts, head, residual.

    Raises:
        ValueError: no concepts, a regression task, or too few examples.
        FileNotFoundError: there is no file of scores.
    """

    default_recipe = RECIPE
    accuracy: Tensor
    residual: nn.Linear | None

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet18",
        bank: str = "annotations",
        examples: int = 100,
        concepts: Sequence[str] = (),
        lam: float = 2e-4,
        epochs: int = 1000,
        residual: bool = False,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_classification(self.domain, "PostHocCBM")
        check_at_least(2, examples=examples)  # some to fit the hyperplane and some to choose its strength
        self.scored = bank not in ("annotations", "random")
        if self.scored and not concepts and not Path(bank).is_file():
            raise FileNotFoundError(
                f"bank must be 'annotations', 'random', or a file of `train.py score-concepts`; got '{bank}'."
            )
        self.names = list(concepts) or list(read_scores(bank)[1] if self.scored else self.domain.concepts)
        if not self.names:
            raise ValueError("PostHocCBM needs names of concepts: give `concepts`, or data with annotated ones.")
        self.hparams["concepts"] = self.names  # so that a checkpoint needs no file
        self.bank, self.examples, self.lam, self.epochs = bank, examples, lam, epochs
        self.backbone = create_encoder(backbone, self.domain)
        count, classes = len(self.names), len(self.domain.classes)
        self.concepts = nn.Linear(self.backbone.channels, count)  # rows of unit length, so that outputs are margins
        self.head = nn.Linear(count, classes)
        self.residual = nn.Linear(self.backbone.channels, classes, bias=False) if residual else None
        if self.residual is not None:
            nn.init.zeros_(self.residual.weight)
        self.register_buffer("accuracy", torch.zeros(count))

    @classmethod
    def offline_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        refuse_scores(arguments, "bank")
        return super().offline_arguments(arguments)

    def evidence(self, x: Tensor) -> Evidence:
        features = self.backbone(x)
        margins = self.concepts(features)
        if self.residual is None:
            return Evidence(margins)
        present = torch.ones_like(margins[:, :1])
        return Evidence(torch.cat([margins, present], 1), state={"residual": self.residual(features)})

    def readout(self, evidence: Evidence) -> Tensor:
        if self.residual is None:
            return super().readout(evidence)
        margins, present = evidence.activation[:, :-1], evidence.activation[:, -1:]
        concepts = F.linear(margins, at_least_fp32(self.head.weight), at_least_fp32(self.head.bias))
        return concepts + present * evidence.state["residual"]

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        if self.residual is None:
            return super().attribute(evidence, target)
        concepts = evidence.activation[:, :-1] * at_least_fp32(self.head.weight)[target]
        rest = evidence.activation[:, -1:] * evidence.state["residual"].gather(1, target[:, None])
        return torch.cat([concepts, rest], 1), at_least_fp32(self.head.bias)[target]

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        concepts = evidence.activation[:, : self.head.weight.shape[1]] * at_least_fp32(self.head.weight).mean(0)
        bias = at_least_fp32(self.head.bias).mean().expand(evidence.activation.shape[0])
        if self.residual is None:
            return concepts, bias
        rest = evidence.activation[:, -1:] * evidence.state["residual"].mean(1, keepdim=True)
        return torch.cat([concepts, rest], 1), bias

    def slopes(self, evidence: Evidence) -> Tensor | None:
        concepts = at_least_fp32(self.head.weight).T[None]
        if self.residual is None:
            return concepts
        rest = evidence.state["residual"][:, None]
        return torch.cat([concepts.expand(rest.shape[0], -1, -1), rest], 1)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        terms = {"task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights"))}
        if self.residual is not None:
            terms["residual"] = self.residual.weight.square().mean()
        return terms

    def units(self) -> tuple[Unit, ...]:
        supervision = "random control" if self.bank == "random" else "projected"
        found = [
            Unit(name, "concept", source={"supervision": supervision, "held-out accuracy": round(accuracy, 4)})
            for name, accuracy in zip(self.names, self.accuracy.tolist(), strict=True)
        ]
        rest = [] if self.residual is None else [Unit("residual", "residual", source={"supervision": "none"})]
        return (*found, *rest)

    @action
    def learn_bank(self, projection_set: ProjectionSet) -> None:
        """Fits a hyperplane for each concept."""
        if self.bank == "random":
            self.concepts.weight.copy_(F.normalize(random_directions(self.concepts.weight), dim=1))
            (features,) = collect(self.backbone, projection_set)
            self.concepts.bias.copy_(-(features @ self.concepts.weight.T).mean(0))
            return
        features, examples = self._examples(projection_set)
        for j, (name, rows) in enumerate(zip(self.names, examples, strict=True)):
            if min(map(len, rows)) < 4:
                raise ValueError(
                    f"concept '{name}' has {len(rows[0])} present and {len(rows[1])} absent training items; at least 4 "
                    "of each are needed. Annotate more items, or leave the concept out."
                )
            count = min(self.examples, *map(len, rows))
            chosen = torch.cat([r[:count] for r in rows])
            vector, offset, accuracy = fit_hyperplane(features[chosen], torch.arange(2 * count) < count)
            self.concepts.weight[j], self.concepts.bias[j], self.accuracy[j] = vector.to(self.device), offset, accuracy

    def _examples(self, projection_set: ProjectionSet) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Features (N, d), and the numbers of the present and of the absent items of each concept, best first."""
        if self.scored:
            features = collect(self.backbone, projection_set)[0].cpu()
            scores, names, items = read_scores(self.bank)
            columns = columns_of(self.names, names, self.bank)
            order = align(scores, items, projection_set, self.bank)[:, columns].argsort(0)
            half = len(order) // 2
            return features, [(c.flip(0)[:half], c[:half]) for c in order.T]
        features, concepts = (t.cpu() for t in collect(self.backbone, projection_set, "concepts"))
        columns = columns_of(self.names, self.domain.concepts, "the data")
        draw = torch.Generator().manual_seed(0)
        found = [[(concepts[:, j] == value).nonzero().flatten() for value in (1, 0)] for j in columns]
        return features, [tuple(r[torch.randperm(len(r), generator=draw)] for r in rows) for rows in found]

    @action
    def sparsify(self, projection_set: ProjectionSet) -> None:
        """Fits the sparse head on the margins."""
        features, target = collect(self.backbone, projection_set, "target")
        found = saga(self.concepts(features), target, len(self.domain.classes), self.lam, epochs=self.epochs)
        self.head.weight.copy_(found.weight)
        self.head.bias.copy_(found.bias)
