"""Post-hoc concept bottleneck models: concept activation vectors on a frozen backbone, and what they leave over.

Yuksekgonul, Wang, Zou: "Post-hoc Concept Bottleneck Models", ICLR 2023, arXiv 2205.15480.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.concepts.layers.projected import align, collect, columns_of, read_scores, refuse_scores
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
from zoo.training.tasks import task_loss

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
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # C of the support vector machines


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
    """Reads concepts off a frozen backbone as distances to hyperplanes, and scores classes sparsely from them.

        m_j = (v_j · h + b_j) / |v_j|, h = backbone(x)      (B, k)   signed margin to the concept's hyperplane
        score = W m + b                                              sparse: cross-entropy + λ (0.99 |W|₁ + 0.005 |W|²)
        score = W m + b + W_r h                                      with `residual` (PCBM-h)

    The residual path is one more unit, named "residual", of activation 1: its contribution to class c is W_r[c]·h,
    exactly what the concepts do not account for. Set it to 0 to see the model without it.

    Recipe: the actions `learn_bank` (a linear support vector machine for each concept, its strength chosen on held-out
    items) and `sparsify`, then an epoch that measures; with a residual, a stage that trains the group
    `residual` alone (published: Adam 0.01, 20 epochs).

    How this differs from the official code: one multinomial head instead of one classifier against the rest; concepts
    without annotation may come from an image-text encoder for any backbone (there: the vectors of the phrases, for
    CLIP's own); `bank="random"` is the control with random hyperplanes, which every report of such a model needs.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: see `zoo.networks.encoders.create_encoder`; frozen.
        bank: "annotations", "random", or a file of `train.py score-concepts`: of each concept, the training items that
            score highest are then taken for present, and those that score lowest for absent.
        examples: present and absent training items of each concept, at most.
        concepts: names; by default those of the data, or of the file.
        lam: λ.
        epochs: of the solver of the head, at most.
        residual: whether features may also speak past the concepts.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: concepts, head, residual.

    Raises:
        ValueError: no concepts, a domain of regression, or an unknown choice.
        FileNotFoundError: no file of scores.
    """

    default_recipe = RECIPE

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
        if self.domain.task != "classification":
            raise ValueError(f"PostHocCBM classifies; the task of these data is '{self.domain.task}'.")
        self.scored = bank not in ("annotations", "random")
        if self.scored and not concepts and not Path(bank).is_file():
            raise FileNotFoundError(
                f"bank must be 'annotations', 'random', or a file of `train.py score-concepts`; got '{bank}'."
            )
        self.names = list(concepts) or list(read_scores(bank)[1] if self.scored else self.domain.concepts)
        if not self.names:
            raise ValueError("PostHocCBM needs names of concepts: give `concepts`, or data that has annotated ones.")
        self.hparams["concepts"] = self.names  # so that a checkpoint needs no file
        if examples < 2:
            raise ValueError(f"examples must be at least 2, some to learn from and some to choose by; got {examples}.")
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
        there = torch.ones_like(margins[:, :1])
        return Evidence(torch.cat([margins, there], 1), state={"residual": self.residual(features)})

    def readout(self, evidence: Evidence) -> Tensor:
        if self.residual is None:
            return super().readout(evidence)
        margins, there = evidence.activation[:, :-1], evidence.activation[:, -1:]
        concepts = F.linear(margins, self.head.weight.float(), self.head.bias.float())
        return concepts + there * evidence.state["residual"]

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        if self.residual is None:
            return super().attribute(evidence, target)
        concepts = evidence.activation[:, :-1] * self.head.weight.float()[target]
        rest = evidence.activation[:, -1:] * evidence.state["residual"].gather(1, target[:, None])
        return torch.cat([concepts, rest], 1), self.head.bias.float()[target]

    def slopes(self, evidence: Evidence) -> Tensor | None:
        concepts = self.head.weight.float().T[None]
        if self.residual is None:
            return concepts
        rest = evidence.state["residual"][:, None]
        return torch.cat([concepts.expand(rest.shape[0], -1, -1), rest], 1)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        terms = {"task": task_loss(scores, batch["target"], self.domain)}
        if self.residual is not None:
            terms["residual"] = self.residual.weight.square().mean()
        return terms

    def units(self) -> tuple[Unit, ...]:
        who = "random control" if self.bank == "random" else "projected"
        found = [
            Unit(name, "concept", source={"supervision": who, "held-out accuracy": round(right, 4)})
            for name, right in zip(self.names, self.accuracy.tolist(), strict=True)
        ]
        rest = [] if self.residual is None else [Unit("residual", "residual", source={"supervision": "none"})]
        return (*found, *rest)

    @action
    def learn_bank(self, projection_set: ProjectionSet) -> None:
        """Finds a hyperplane for each concept."""
        if self.bank == "random":
            draw = torch.Generator().manual_seed(0)
            directions = torch.randn(self.concepts.weight.shape, generator=draw).to(self.device)
            self.concepts.weight.copy_(F.normalize(directions, dim=1))
            (features,) = collect(self, projection_set)
            self.concepts.bias.copy_(-(features @ self.concepts.weight.T).mean(0))
            return
        features, examples = self._examples(projection_set)
        for j, (name, rows) in enumerate(zip(self.names, examples, strict=True)):
            if min(map(len, rows)) < 4:
                raise ValueError(
                    f"concept '{name}' has {len(rows[0])} present and {len(rows[1])} absent training items; at least 4 "
                    "of each are needed to learn it. Annotate more, or leave it out."
                )
            count = min(self.examples, *map(len, rows))
            chosen = torch.cat([r[:count] for r in rows])
            vector, offset, right = hyperplane(features[chosen], torch.arange(2 * count) < count)
            self.concepts.weight[j], self.concepts.bias[j], self.accuracy[j] = vector.to(self.device), offset, right

    def _examples(self, projection_set: ProjectionSet) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Features (N, d), and for each concept the items to take for present and for absent, the best first."""
        if self.scored:
            features = collect(self, projection_set)[0].cpu()
            values, names, items = read_scores(self.bank)
            order = align(values, items, projection_set, self.bank)[
                :, columns_of(self.names, names, self.bank)
            ].argsort(0)
            half = len(order) // 2
            return features, [(c.flip(0)[:half], c[:half]) for c in order.T]
        features, concepts = (t.cpu() for t in collect(self, projection_set, "concepts"))
        columns = columns_of(self.names, self.domain.concepts, "the data")
        draw = torch.Generator().manual_seed(0)
        found = [[(concepts[:, j] == value).nonzero().flatten() for value in (1, 0)] for j in columns]
        return features, [tuple(r[torch.randperm(len(r), generator=draw)] for r in rows) for rows in found]

    @action
    def sparsify(self, projection_set: ProjectionSet) -> None:
        """Solves for the sparse head on the margins."""
        features, target = collect(self, projection_set, "target")
        found = saga(self.concepts(features), target, len(self.domain.classes), self.lam, epochs=self.epochs)
        self.head.weight.copy_(found.weight)
        self.head.bias.copy_(found.bias)


def hyperplane(features: Tensor, labels: Tensor) -> tuple[Tensor, float, float]:
    """A concept activation vector (d,) of unit length, its offset, and its accuracy on every fourth, held-out item.

    Args:
        features: (N, d), present ones first.
        labels: (N,) in {0, 1}, or bool.
    """
    from sklearn.svm import LinearSVC  # scikit-learn takes most of a second, and most of the zoo does without

    x, y = features.double().numpy(), labels.numpy()
    held = torch.arange(len(y)).numpy() % 4 == 3
    machines = [LinearSVC(C=c, dual="auto", random_state=0, max_iter=5000).fit(x[~held], y[~held]) for c in STRENGTHS]
    accuracy = [float(machine.score(x[held], y[held])) for machine in machines]
    best = machines[accuracy.index(max(accuracy))]
    vector = torch.from_numpy(best.coef_[0]).float()
    length = vector.norm().clamp_min(1e-12)
    return vector / length, float(best.intercept_[0]) / length.item(), max(accuracy)
