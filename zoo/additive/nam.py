"""Neural additive model: one small network for each column of a table.

Agarwal, Melnick, Frosst, Zhang, Lengerich, Caruana, Hinton: "Neural Additive Models: Interpretable Machine Learning
with Neural Nets", NeurIPS 2021, arXiv 2004.13912.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.additive.layers.bootstrap import poisson_weights
from zoo.additive.layers.entries import Entries
from zoo.additive.layers.readout import spread, table_of
from zoo.core.additive_evidence import additive_evidence, outputs_of, per_class
from zoo.core.curves import Curve
from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.core.unit_logits import UnitLogits
from zoo.domain import Domain
from zoo.networks.feature_networks import UNITS, FeatureNetworks, column_support
from zoo.training.batch import Batch
from zoo.training.modes import action, evaluating
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space, task_loss
from zoo.utils.checks import check_at_least, check_between, check_choice

RECIPE = Recipe(
    stages=(
        Stage("initialise"),
        Stage("train", epochs=200, train=("networks", "bias"), decay_every=1, decay=0.995),
        Stage("centre"),
        Stage("measure", epochs=1, train=()),
    ),
    lr=1e-2,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "output": 1e-3, "l2": 1e-6},
)


@register(
    "nam",
    modality="table",
    paper="Agarwal et al., NeurIPS 2021",
    small=Small(
        {"units": 6, "hidden": [4], "bins": 8},
        scale={"networks.output": 4.0},
        variants={"exu": Small({"hidden": [], "activation": "exu", "bags": 3})},
    ),
)
class NAM(UnitLogits):
    """Scores a row by a sum of learned functions of one column each; every function is a small network.

        f_k(x) = network_k(value)          of a number; a learned constant for each level and each missing code
        score = b + Σ_k f_k(x)             for two classes the log-odds of the second

        loss = task + 1e-3 output + 1e-6 l2                         (default coefficients)
        output = Σ_k f_k² / K, without dropout, mean over rows;     l2 = 1/2 (sum of squares of all weights) / K

    The action `initialise` puts the centres of the first layer at training values; functions can then be steep wherever
    there are data. For two classes and for a single value the activation of unit k is f_k(x). The action `centre` gives
    each f_k the mean 0 over the training rows (the means go into b) and measures the density of the training data; then
    `curves()` has each f_k at the points where there are data.

    With `bags` n > 1, n models are trained as one. Bag i counts a training row Poisson(1) times (a bootstrap); the
    number is a function of the row. The score is that of the mean model, and curves have standard errors: the standard
    deviation over the bags.

    Differs from the published code: ReLU units and two dense layers by default (there: ExU units, none); the width is
    the same for all columns (there: min(1000, 2 x distinct values)); centres start at training values (there: at random
    numbers around 0); categories are one unit (there: one feature for each level), and a level has a constant instead
    of a network; missing codes have constants. Batches are balanced only if the data module says so (`sampling:
    balanced`; there always). Training has a fixed number of epochs (there: it stops early).

    Args:
        domain: what inputs and outputs mean (`data.domain`): a table.
        units: units of the first layer of each network.
        hidden: widths of the layers after it; [] for a shallow network.
        activation: of the first layer: "relu", w (x - c) above 0, or "exu", exp(w) (x - c) clipped to [0, 1]; c is a
            centre of each unit. "exu" fits curves with jumps. Both want inputs of about [-2, 2].
        dropout: in [0, 1), of hidden units.
        feature_dropout: in [0, 1), of complete f_k.
        bags: n.
        bins: largest number of points of the curve of a column of numbers.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: networks, bias.

    Raises:
        ValueError: inputs other than a table, or an argument out of range.
    """

    default_recipe = RECIPE
    weighs_rows = True
    bias: Tensor
    means: Tensor
    place: Tensor
    networks: FeatureNetworks
    entries: Entries

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        units: int = 64,
        hidden: tuple[int, ...] = (64, 32),
        activation: str = "relu",
        dropout: float = 0.1,
        feature_dropout: float = 0.0,
        bags: int = 1,
        bins: int = 128,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_at_least(1, units=units, bags=bags, **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
        check_at_least(2, bins=bins)
        check_between(0, 0.99, dropout=dropout, feature_dropout=feature_dropout)
        check_choice(UNITS, activation=activation)
        table = table_of(self.domain, "NAM")
        outputs, count = outputs_of(table), len(table.layout)
        self.feature_dropout, self.names = feature_dropout, [column.name for column in table.layout]
        self.networks = FeatureNetworks(table, bags, outputs, units, tuple(hidden), activation, dropout)
        self.bias = nn.Parameter(torch.zeros(bags, outputs))
        self.entries = Entries(table, bins)
        self.register_buffer("means", torch.zeros(bags, count, outputs))
        place = column_support(table.slices, [(k,) for k in range(count)])
        self.register_buffer("place", place, persistent=False)
        self.space = score_space(self.domain)

    def evidence(self, x: Tensor) -> Evidence:
        functions = self.networks(x) - self.means  # (B, n, K, C')
        bias = self.bias + self.means.sum(1)  # (n, C')
        if not self.training:
            support = self.place.expand(x.shape[0], -1, -1)
            return additive_evidence(functions.mean(1), bias.mean(0), support, self.domain)
        kept = F.dropout(torch.ones_like(functions[..., :1]), self.feature_dropout, self.networks.training)
        evidence = additive_evidence((kept * functions).mean(1), bias.mean(0), None, self.domain)
        evidence.state["sums"] = (kept * functions).sum(2) + bias
        clean = self.networks(x, dropout=False) - self.means if self.networks.dropout else functions
        evidence.state["functions"] = clean
        return evidence

    def units(self) -> tuple[Unit, ...]:
        return tuple(Unit(name, "feature") for name in self.names)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        target, classes, weight = batch["target"], batch.get("class_weights"), batch.get("weight")
        if not self.training:
            return {"task": task_loss(scores, target, self.domain, classes, weight)}
        sums = evidence.state["sums"]
        bags = sums.shape[1]
        if bags > 1:  # every bag has its own scores and its own weights of the rows
            scores, target = per_class(sums, self.domain).flatten(0, 1), target.repeat_interleave(bags, 0)
            counts = poisson_weights(batch["input"], bags)
            weight = (counts if weight is None else counts * weight[:, None]).flatten()
        squares = torch.stack([p.square().sum() for p in self.networks.parameters()]).sum()
        return {
            "task": task_loss(scores, target, self.domain, classes, weight),
            "output": evidence.state["functions"].square().sum(3).mean(),
            "l2": squares / (2 * bags * len(self.names)),
        }

    @action
    def initialise(self, projection_set: ProjectionSet) -> None:
        """Puts centres at random different training values; the scale of values to predict is taken from them."""
        batches = list(projection_set)
        self.networks.fit_centres(projection_set.gather(torch.cat([batch["input"] for batch in batches])))
        if self.domain.task == "regression":
            target = projection_set.gather(torch.cat([batch["target"] for batch in batches])).flatten(1)
            self.bias.copy_(target.mean(0).expand_as(self.bias))
            self.networks.unit.copy_(spread(target))

    @action
    def centre(self, projection_set: ProjectionSet) -> None:
        """Gives every function the mean 0 over the training rows, and measures the density of the training data."""
        inputs, sums = [], torch.zeros_like(self.means, dtype=torch.float64)
        for batch in projection_set:
            inputs.append(batch["input"])
            sums += self.networks(batch["input"]).double().sum(0)
        self.means.copy_(projection_set.total(sums) / len(projection_set))
        self.entries.fit(projection_set.gather(torch.cat(inputs)))

    @torch.no_grad()
    def curves(self) -> tuple[Curve, ...]:
        """The function of each column, at most `bins` points of numbers, in raw values.

        Raises:
            RuntimeError: the action `centre` has not run.
        """
        self.entries.require_fitted("NAM")
        with evaluating(self):
            functions = per_class(self.networks(self.entries.rows()) - self.means, self.domain)  # (S, n, K, C)
        values, errors = functions.mean(1), functions.std(1) if functions.shape[1] > 1 else None
        curves = []
        for k, axis in enumerate(self.entries.axes()):
            n = len(axis)
            error = None if errors is None else errors[:n, k]
            curves.append(Curve(axis.column, (axis,), values[:n, k], self.entries.density[k, :n], error))
        return tuple(curves)
