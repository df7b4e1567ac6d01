"""Shapelets: motifs of training series, how near each comes to some window of a series, and a linear score.

Ye, Keogh: "Time Series Shapelets: A New Primitive for Data Mining", KDD 2009; Hills et al.: "Classification of Time
Series by Shapelet Transformation", DMKD 2014. Motifs of each class, as in Zhang et al.: "VSFormer", arXiv 2412.16515.
"""

from typing import Any

from torch import Tensor, nn

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.core.terms import without_autocast
from zoo.core.unit_cache import UnitCache
from zoo.domain import Domain, SeriesDomain
from zoo.sequences.layers.distances import similarity
from zoo.sequences.layers.linear_fit import fit_linear_head
from zoo.sequences.layers.mining import MiningOptions, candidates, chosen
from zoo.sequences.layers.motif_bank import MotifBank
from zoo.sequences.layers.series_sample import series_sample
from zoo.sequences.layers.windows import in_steps
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import check_classification, task_loss
from zoo.utils.checks import check_above
from zoo.utils.options import parse_options

RECIPE = Recipe(
    stages=(Stage("mine"), Stage("fit_head"), Stage("measure", epochs=1, train=())),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)


@register(
    "shapelets",
    modality="series",
    paper="Ye and Keogh, KDD 2009; Hills et al., DMKD 2014",
    small=Small({"mining": {"per_class": 2, "lengths": (3, 0.5), "candidates": 60}}),
)
class Shapelets(SelfInterpretable):
    """Scores a series by how near motifs of training series come to some window of it: exactly a sum over the motifs.

        d_k(t) = mean over the window at t of (motif_k - window)²     "shape": both normalised; "value": as they are
        g_k = max over t of log((d_k(t) + 1) / (d_k(t) + 0.01))       (B, K), from 0 to 4.6: the activation
        score_c = b_c + Σ_k W_ck g_k

    The support of a motif is the window where it matches best, on its variable. The order and the places of the matches
    have no part in the score. A motif that is nowhere near counts too, by its low similarity; where it matches best
    says little then, so read the distance with the contribution.

    The action `mine` finds Q motifs of each class: windows of its training series that its other series repeat and
    other classes do not, as different from each other as possible, see `MiningOptions`. `fit_head` fits W and b by
    penalised logistic regression on the activations of the training data; in its place `{name: sparsify, per_class: 3}`
    leaves a few weights to each class, and a stage that trains "head" fits it step by step. Nothing else is learned, so
    a training takes seconds.

    Differs from the published methods: distances are measured relative to the length, in logarithmic form; a motif is
    chosen by the gap between its class and the class from which those before it separate it least (there: information
    gain, or the matrix profile); windows are drawn at random places (there: all); the head is linear, so that the
    motifs' contributions add up (there: a tree, any classifier, or a transformer).

    Args:
        domain: what inputs and outputs mean (`data.domain`): series with classes.
        mining: see `zoo.sequences.layers.mining.MiningOptions`.
        penalty: of `fit_head`: weight of the mean square of the weights of standardised activations.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: head.

    Raises:
        ValueError: inputs other than series, other targets than classes, or a number out of range.
    """

    reference = "runner-up"
    sparse_ridge = 0.01  # of sparsify
    default_recipe = RECIPE
    tasks = ("classification",)
    domain: SeriesDomain
    head: nn.Linear

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        mining: MiningOptions | None = None,
        penalty: float = 0.1,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.mining = parse_options(MiningOptions, mining, "mining")
        self.keep_arguments(locals())
        check_above(0, penalty=penalty)
        if not isinstance(self.domain, SeriesDomain):
            raise ValueError(f"Shapelets reads series; got a domain of {self.domain.noun}.")
        check_classification(self.domain, "Shapelets")
        self.penalty, classes = penalty, len(self.domain.classes)
        lengths = dict.fromkeys(in_steps(length, self.domain.length, "lengths") for length in self.mining.lengths)
        count = classes * self.mining.per_class
        self.motifs = MotifBank(count, tuple(lengths), self.domain.length, self.mining.flat)
        self.head = nn.Linear(count, classes)
        self._units = UnitCache()

    def evidence(self, x: Tensor) -> Evidence:
        with without_autocast(x):  # a logarithm magnifies the rounding of small distances
            distance, start = self.motifs.nearest(x)
        state = {"distance": distance, "start": start}
        support = None if self.training else self.motifs.support(start, x.shape[2])
        return Evidence(similarity(distance), support, state)

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """The distance of each match, and the step where it starts."""
        return {"distance": evidence.state["distance"], "from step": evidence.state["start"]}

    def units(self) -> tuple[Unit, ...]:
        return self._units.get((self.motifs.index, self.motifs.name), self._build_units)

    def _build_units(self) -> list[Unit]:
        units = []
        for k, source in enumerate(self.motifs.sources(self.domain)):
            target, place = divmod(k, self.mining.per_class)
            units.append(Unit(f"{self.domain.classes[target]} #{place + 1}", "prototype", target, source))
        return units

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights"))}

    def require_ready(self) -> None:
        if int(self.motifs.index.min()) < 0:
            raise RuntimeError("there are no motifs yet: train with a recipe that begins with the action `mine`.")

    def check_recipe(self) -> None:
        first = self.stages[0]
        if first.name != "mine" or not first.is_action:
            raise ValueError(
                f"the recipe of Shapelets must begin with the action {{name: mine}}, which finds the motifs; it begins "
                f"with '{first.name}'."
            )

    @action
    def mine(self, projection_set: ProjectionSet) -> None:
        """Finds the motifs in the training series."""
        sample = series_sample(projection_set, len(self.domain.classes), self.mining.series)
        found = candidates(sample.x, sample.target, self.motifs.lengths, self.mining)
        picked = chosen(found, sample.target, len(self.domain.classes), self.mining)
        self.motifs.store(found[picked], sample.x, sample.index, sample.names)

    @action
    def fit_head(self, projection_set: ProjectionSet) -> None:
        """Fits the head by penalised logistic regression on the activations of the training data."""
        fit_linear_head(self, projection_set, self.penalty)
