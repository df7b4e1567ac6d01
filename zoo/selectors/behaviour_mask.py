"""Selectors of series: a mask over steps and sensors through which a classifier still behaves as on complete series.

Queen, Hartvigsen, Koker, He, Tsiligkaridis, Zitnik: "Encoding Time-Series Explanations through Self-Supervised Model
Behavior Consistency" (TimeX), NeurIPS 2023, arXiv 2306.02109.
Liu et al.: "TimeX++: Learning Time-Series Explanations with Information Bottleneck", ICML 2024, arXiv 2405.09308.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, SeriesDomain
from zoo.networks.elements import Elements
from zoo.networks.encoders import create_encoder
from zoo.selectors.layers.behaviour import (
    answer_divergence,
    behaviour_consistency,
    label_consistency,
    roughness,
    size_divergence,
)
from zoo.selectors.layers.behaviour_presets import LANDMARKS, recipe_of
from zoo.selectors.layers.landmarks import Landmarks, embed_all
from zoo.selectors.layers.mask_generator import MaskGenerator
from zoo.selectors.layers.masks import MaskOptions, draw
from zoo.selectors.layers.runs import selected_steps
from zoo.selectors.layers.step_baseline import StepBaseline
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.tasks import check_classification, task_loss
from zoo.utils.checks import check_at_least, check_choice

LAW = MaskOptions(law="bernoulli", estimator="pathwise", samples=1, temperature=1.0)


@register(
    "behaviour_mask",
    modality="series",
    paper="Queen et al., NeurIPS 2023 (TimeX); Liu et al., ICML 2024 (TimeX++)",
    small=Small(
        {"landmarks": 4, "width": 8},
        scale={"generator.score.weight": 20.0, "head.weight": 5.0},
        variants={
            "timexpp": Small({"preset": "timexpp", "landmarks": 0}),
            "patches": Small({"elements": {"patch": 3}}),
        },
    ),
)
class BehaviourMask(SelfInterpretable):
    """Selects the steps and sensors of a series that keep a classifier's behaviour, and predicts from those alone.

        p = σ(generator(x))                               (B, L)   chance that an element is selected
        m = 1[p > ½]; while the generator learns, a draw of chance p, straight-through
        x̃ = m ⊙ x + (1 - m) ⊙ b                           b: mean of the training set per step and sensor; while the
                                                          generator learns, normal noise with its mean and deviation
        score = head(backbone(x̃))

        loss = task + consistency + labels + behaviour + landmarks + size + smoothness, weights in the recipe
        task         cross-entropy of the score
        consistency  JS(g(x̃), g(x)) of the answers of the reference g, the classifier of complete series     (TimeX++)
        labels       mean over pairs (JS(f(x̃_i), f(x̃_j)) - JS(g(x_i), g(x_j)))², f this model               (TimeX)
        behaviour    mean over pairs (cos(z_i, z_j) - cos(z'_i, z'_j))², z = backbone(x̃), z' that of g on x  (TimeX)
        landmarks    the same with the landmark of each series in place of z                                 (TimeX)
        size         mean KL(Bernoulli(p) || Bernoulli(rate))
        smoothness   mean |p_(t+1) - p_t|

    The score is not a sum over the elements, so there are no contributions: an explanation says what was *selected*.
    Values that are not selected do not reach the classifier. They can still reach the score through the choice: run
    `train.py evaluate --selection` before you trust a mask.

    Stages: `fit_baseline`; the classifier learns on complete series (or is that of `recipe.teacher` with `start`);
    `start` keeps a copy of it as the reference, and places the landmarks; the generator learns alone, then with the
    classifier, which then learns on with the masks of predictions. With landmarks, `project` replaces each by the
    embedding of the nearest training series, which an explanation names, and the head learns on.

    Differs from the published code: the classifier reads the masked series and nothing else (there, TimeX masks the
    attention only, for one sensor, and TimeX++ mixes x and m by a network at every step, so that values outside of the
    mask are read; without that network the masked series is the reference instance, and the distance to it is 0); masks
    and landmarks are not drawn when predicting; smoothness is a mean (there one norm over the batch divided by the
    number of entries, which falls with the size of the batch); the task has a loss (there that of a frozen network);
    no gradients are clipped (there before the backward pass, without effect); similarities are those of different rows;
    the divergence of Gaussian heads (TimeX++) is left out; the generator's decoder has its own width.

    Args:
        domain: what inputs and outputs mean (`data.domain`), of series.
        preset: the published weights of the loss, and whether there are landmarks; see `recipe`.
        backbone: of the classifier and the generator, with a state for each step, see
            `zoo.networks.encoders.create_encoder`.
        elements: `patch` in steps: stretches that are selected together, see `Elements`.
        rate: chance of selection that `size` pulls to, in (0, 1); published is 0.5.
        landmarks: number of landmarks; by default 50 ("timex") or none ("timexpp").
        noise: of what is not selected while the generator learns, in deviations of the training set; published is 1.
        width: of the generator's decoder.
        dropout: of the generator's decoder in training, in [0, 1).
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: generator, backbone, head, landmarks, and original,
            the reference, which never trains.

    Raises:
        ValueError: a domain other than series with classes, a number out of range, or a recipe without `fit_baseline`
            and `start`, or that trains the backbone after `project`.
    """

    default_recipe = recipe_of("timex", landmarks=True)
    additive = False
    weighs_rows = True
    domain: SeriesDomain
    head: nn.Linear
    started: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        preset: Literal["timex", "timexpp"] = "timex",
        backbone: str | dict[str, Any] = "convnet1d",
        elements: dict[str, int] | None = None,
        rate: float = 0.3,
        landmarks: int | None = None,
        noise: float = 1.0,
        width: int = 32,
        dropout: float = 0.1,
        recipe: Recipe | None = None,
    ) -> None:
        check_choice(LANDMARKS, preset=preset)
        count = LANDMARKS[preset] if landmarks is None else landmarks
        check_at_least(0, landmarks=count, noise=noise)
        if not 0 < rate < 1 or not 0 <= dropout < 1 or width < 4:
            raise ValueError(
                "expected a rate in (0, 1), a dropout in [0, 1) and a width of at least 4; got "
                f"{rate}, {dropout} and {width}."
            )
        super().__init__(domain, recipe, default_recipe=recipe_of(preset, count > 0))
        self.keep_arguments(locals())
        if not isinstance(self.domain, SeriesDomain):
            raise ValueError(f"BehaviourMask reads series; the domain is of {self.domain.noun}. Use LEX.")
        check_classification(self.domain, "BehaviourMask")
        self.rate = rate
        self.elements = Elements(self.domain, **(elements or {}))
        self.backbone = create_encoder(backbone, self.domain)
        self.head = nn.Linear(self.backbone.channels, len(self.domain.classes))
        self.generator = MaskGenerator(backbone, self.domain, self.elements, width, dropout)
        self.baseline = StepBaseline(self.domain, noise)
        self.original = nn.Sequential(copy.deepcopy(self.backbone), copy.deepcopy(self.head))
        self.landmarks = Landmarks(count, self.backbone.channels) if count else None
        self.register_buffer("started", torch.tensor(False))

    # Actions

    @action
    def fit_baseline(self, projection_set: ProjectionSet) -> None:
        """Measures what takes the place of values that are not selected."""
        self.baseline.fit(projection_set)

    @action
    def start(self, projection_set: ProjectionSet) -> None:
        """Keeps the classifier as the reference, gives its encoder to the generator, and places the landmarks."""
        self.original[0].load_state_dict(self.backbone.state_dict())
        self.original[1].load_state_dict(self.head.state_dict())
        self.generator.encoder.load_state_dict(self.backbone.state_dict())
        if self.landmarks is not None:
            self.landmarks.start(*embed_all(projection_set, self.backbone))
        self.started.fill_(True)

    @action
    def project(self, projection_set: ProjectionSet) -> None:
        """Replaces each landmark by the embedding of the nearest training series."""
        if self.landmarks is not None:
            self.landmarks.project(*embed_all(projection_set, lambda x: self.evidence(x).state["code"]))

    def check_recipe(self) -> None:
        names = [stage.name for stage in self.stages]
        if missing := [name for name in ("fit_baseline", "start") if name not in names]:
            raise ValueError(f"the recipe of BehaviourMask needs the action '{missing[0]}'; its stages: {names}.")
        after = self.stages[names.index("project") :] if "project" in names else ()
        moved = [stage.name for stage in after if {"generator", "backbone", "landmarks"} & set(stage.trained)]
        if moved:
            raise ValueError(
                f"stage '{moved[0]}' changes embeddings or landmarks after 'project'; train the head alone."
            )

    def require_ready(self) -> None:
        if not bool(self.started):
            raise RuntimeError(
                "BehaviourMask has no reference yet, so its masks mean nothing; train it, or run its actions "
                "'fit_baseline' and 'start'."
            )

    # Evidence

    def evidence(self, x: Tensor) -> Evidence:
        if self.training and not bool(self.started):
            return Evidence(x.new_ones(x.shape[0], self.elements.count), None, {"code": self.backbone(x)})
        logits = self.generator(x)
        state = {"logit": logits, "chance": logits.sigmoid(), "input": x}
        if self.training:
            drawn = self.generator.training  # or it is fixed, and the others learn what they get when predicting
            mask = draw(logits, LAW).mask[:, 0] if drawn else (logits > 0).to(logits.dtype)
            return Evidence(mask, None, state | self._masked(x, mask, drawn))
        mask = (logits > 0).to(logits.dtype)
        here = torch.eye(self.elements.count, device=x.device).unflatten(1, self.elements.grid)
        return Evidence(mask, here.expand(x.shape[0], *here.shape), state | self._masked(x, mask))

    def _masked(self, x: Tensor, mask: Tensor, noisy: bool = False) -> dict[str, Tensor]:
        """The series x (B, T, V) as seen through a mask (B, L), and its embedding (B, E)."""
        seen = self.baseline(x, self.elements.expand(mask, x), noisy)
        return {"seen": seen, "code": self.backbone(seen)}

    def readout(self, evidence: Evidence) -> Tensor:
        return self.head(evidence.state["code"])

    def intervene(self, evidence: Evidence, mask: Tensor, values: Tensor) -> Evidence:
        """The evidence with elements selected (1) or not (0): the classifier reads the series anew."""
        shown = torch.where(mask, values, evidence.activation)
        state = {**evidence.state, **self._masked(evidence.state["input"], shown)}
        return replace(evidence, activation=shown, state=state)

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        if "chance" not in evidence.state:
            return {}
        found = {"chance": evidence.state["chance"]}
        if self.landmarks is not None:
            nearest = self.landmarks.similarity(evidence.state["code"]).argmax(1)
            found["landmark"] = nearest[:, None, None].expand(-1, self.elements.count, 1)
        return found

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        said = [selected_steps(row, self.elements) for row in terms["activation"] > 0.5]
        nearest = terms["details"].get("landmark")
        if self.landmarks is not None and nearest is not None:
            said = [f"{text} {self._landmark(int(n))}" for text, n in zip(said, nearest[:, 0, 0], strict=True)]
        return tuple(said)

    def _landmark(self, number: int) -> str:
        layer = self.landmarks
        if layer is None or int(layer.index[number]) < 0:
            return f"Nearest landmark: {number + 1}."
        label = self.domain.classes[int(layer.label[number])]
        return f"Nearest landmark: training series {int(layer.index[number])}, of class '{label}'."

    def units(self) -> tuple[Unit, ...]:
        source = {"patch": self.elements.patch}
        return tuple(Unit(name, "feature", source=source) for name in self.elements.names())

    # Training

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        weights, state = (batch.get("class_weights"), batch.get("weight")), evidence.state
        terms = {"task": task_loss(scores, batch["target"], self.domain, *weights)}
        if "logit" not in state:
            return terms
        encoder, head = self.original
        with torch.no_grad():
            known = encoder(batch["input"])
            answers = head(known)
        if self.coefficients["consistency"]:
            terms["consistency"] = answer_divergence(head(encoder(state["seen"])), answers).mean()
        if self.coefficients["labels"]:
            terms["labels"] = label_consistency(scores, answers)
        if self.coefficients["behaviour"]:
            terms["behaviour"] = behaviour_consistency(state["code"], known)
        if self.landmarks is not None:
            terms["landmarks"] = behaviour_consistency(self.landmarks.assigned(state["code"]), known)
        terms["size"] = size_divergence(state["logit"], self.rate)
        terms["smoothness"] = roughness(state["chance"].unflatten(1, self.elements.grid))
        return terms
