"""NODE-GAM: soft oblivious trees, each of which reads one column of a table or two.

Chang, Caruana, Goldenberg: "NODE-GAM: Neural Generalized Additive Model for Interpretable Deep Learning", ICLR 2022,
arXiv 2106.01613.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.additive.layers.entries import Entries
from zoo.additive.layers.interactions import Interactions
from zoo.additive.layers.readout import no_curve, spread, table_of
from zoo.additive.layers.tree_layer import TreeLayer
from zoo.core.additive_evidence import additive_evidence, outputs_of, per_class
from zoo.core.curves import Curve
from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.core.unit_logits import UnitLogits
from zoo.domain import Domain
from zoo.training.batch import Batch
from zoo.training.modes import action, evaluating
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage, stage_at
from zoo.training.tasks import score_space, task_loss
from zoo.utils.checks import check_above, check_at_least, check_between

COLDEST = 0.01  # temperature at the end of the stage with `anneal`
ENOUGH = 5000  # rows from which splits are initialised
GROUPS = ("trees", "weight", "bias")
RECIPE = Recipe(
    stages=(
        Stage("initialise"),
        Stage("anneal", epochs=20, train=GROUPS, anneal=True),
        Stage("harden"),
        Stage("initialise"),
        Stage("tune", epochs=80, train=GROUPS, decay_every=20, decay=0.3),
        Stage("purify"),
        Stage("measure", epochs=1, train=()),
    ),
    lr=1e-2,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)


@register(
    "nodegam",
    modality="table",
    paper="Chang et al., ICLR 2022",
    small=Small(
        {"trees": 6, "depth": 2, "pairs": 2, "bins": 6},
        variants={"mains": Small({"pairs": 0, "layers": 1, "depth": 3})},
    ),
)
class NODEGAM(UnitLogits):
    """Scores a row by a sum of functions of one column or two, each a sum of soft oblivious trees that read the same.

        h_l = trees of layer l; each chooses its columns by entmax, and reads earlier trees of the same columns
        f_k(x) = Σ_t w_t h_t         over all trees that read the column k, or the pair k of columns
        score = b + Σ_k f_k(x)       for two classes the log-odds of the second

    See `zoo.additive.layers.tree_layer.TreeLayer`. The choice of columns is soft at first; its temperature falls in the
    recipe's stage with `anneal`. The action `harden` makes it final and keeps the `pairs` with the largest variance on
    the training set; trees of other pairs read the first of their columns instead. The action `initialise` then puts
    the splits at values of the chosen columns, and training goes on. The action `purify` gives each pair the mean 0 in
    each bin of its columns over the training rows; what it loses is added to the functions of the single columns as
    steps, and their means to b, so that no score changes.

    Units are all columns, then the pairs, by name "a x b". Two classes and single values: the activation is f_k(x).

    Differs from the published code: the splits of categories and missing codes read a number that each tree learns
    (there: target encoding); there is a limit to the number of pairs, because units are a fixed set; purification
    works on bins and corrects the trees by steps (there: it replaces them by tables of the values in the data); splits
    start at different values, most of them sharp, and again when choices are final (there: at random rows, soft);
    epochs of a fixed number in place of steps until the validation error stops to fall; no pre-training, no penalty on
    outputs, no average of checkpoints.

    Args:
        domain: what inputs and outputs mean (`data.domain`): a table.
        trees: trees of each layer.
        layers: number of layers.
        depth: of trees; 2 or more with pairs.
        pairs: largest number of pairs; 0 for functions of single columns only.
        column_share: share of the columns, drawn at random, among which each tree chooses, in (0, 1].
        dropout: of the weights w in training, in [0, 1).
        bins: largest number of points of the curve of a column of numbers. Pairs are purified on these bins, which
            should have a hundred training rows or more each.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: trees, weight, bias.

    Raises:
        ValueError: inputs other than a table, or an argument out of range.
    """

    default_recipe = RECIPE
    weighs_rows = True
    bias: Tensor
    unit: Tensor
    temperature: Tensor
    hard: Tensor
    owner: Tensor
    means: Tensor
    entries: Entries
    interactions: Interactions

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        trees: int = 200,
        layers: int = 2,
        depth: int = 3,
        pairs: int = 10,
        column_share: float = 0.5,
        dropout: float = 0.3,
        bins: int = 64,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_at_least(1, trees=trees, layers=layers, depth=depth)
        check_at_least(0, pairs=pairs)
        check_at_least(2, bins=bins, **({"depth": depth} if pairs else {}))
        check_above(0, column_share=column_share)
        check_between(0, 1, column_share=column_share)
        check_between(0, 0.99, dropout=dropout)
        table = table_of(self.domain, "NODEGAM")
        outputs, count = outputs_of(table), len(table.layout)
        pairs = min(pairs, count * (count - 1) // 2)
        self.dropout, self.names = dropout, [column.name for column in table.layout]
        self.trees = nn.ModuleList(
            TreeLayer(table, trees, depth, 2 if pairs else 1, outputs, column_share) for _ in range(layers)
        )
        self.weight = nn.Parameter(torch.empty(layers * trees, outputs, outputs))
        nn.init.xavier_uniform_(self.weight.flatten(0, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.entries = Entries(table, bins)
        self.interactions = Interactions(count, pairs, self.entries.density.shape[1], outputs)
        self.register_buffer("unit", torch.ones(outputs))  # of the sum of the trees; 1 until it is set
        self.register_buffer("temperature", torch.tensor(1.0))
        self.register_buffer("hard", torch.tensor(False))
        self.register_buffer("owner", torch.zeros(layers * trees, count + pairs))  # unit of each tree; 0 while soft
        self.register_buffer("means", torch.zeros(count + pairs, outputs))
        self.space = score_space(self.domain)

    def layers(self) -> list[TreeLayer]:
        """The layers of trees."""
        return [layer for layer in self.trees if isinstance(layer, TreeLayer)]

    def outputs(self, x: Tensor, temperature: float | None = None, initialise: bool = False) -> Tensor:
        """Outputs (B, T, C') of all trees, times their weights; of hard choices without a temperature."""
        first = self.layers()[0]
        found, earlier = x.new_zeros(x.shape[0], 0, self.weight.shape[1]), first.logits.new_zeros(first.logits.shape)
        earlier = earlier[:, :0]
        for layer in self.layers():
            selectors = layer.selectors(temperature)
            if initialise:
                layer.fit_splits(layer.read(x, selectors, found, earlier))
            found = torch.cat([found, layer(x, selectors, found, earlier)], 1)
            earlier = torch.cat([earlier, selectors], 1)
        return found

    def functions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f_k(x) before purification, (B, K, C'), and the sum of the trees without a unit, (B, C')."""
        parts = torch.einsum("btc,tcd->btd", self.outputs(x), self.weight * self.unit)
        return torch.einsum("btd,tk->bkd", parts, self.owner), torch.einsum("btd,t->bd", parts, 1 - self.owner.sum(1))

    def evidence(self, x: Tensor) -> Evidence:
        if self.training:
            return self._training_evidence(x)
        functions, rest = self.functions(x)
        functions = self.interactions(functions, self.entries.bins(x)) - self.means
        bias = self.bias + self.means.sum(0) + rest
        first = self.layers()[0]
        support = self.interactions.support(first.place).expand(x.shape[0], -1, -1)
        return additive_evidence(functions, bias, support, self.domain)

    def _training_evidence(self, x: Tensor) -> Evidence:
        """The same score, all of it in the bias while choices are soft: no tree belongs to a unit then."""
        weight = F.dropout(self.weight * self.unit, self.dropout, self.trees.training)
        outputs = self.outputs(x, None if self.hard else float(self.temperature))
        parts = torch.einsum("btc,tcd->btd", outputs, weight)
        functions = torch.einsum("btd,tk->bkd", parts, self.owner)
        bias = self.bias + torch.einsum("btd,t->bd", parts, 1 - self.owner.sum(1))
        return additive_evidence(functions, bias, None, self.domain)

    def require_ready(self) -> None:
        if not self.hard:
            raise RuntimeError("the trees of NODEGAM have not chosen their columns yet; run the action `harden` first.")

    def units(self) -> tuple[Unit, ...]:
        return (*(Unit(name, "feature") for name in self.names), *self.interactions.units(self.names))

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        classes, weight = batch.get("class_weights"), batch.get("weight")
        return {"task": task_loss(scores, batch["target"], self.domain, classes, weight)}

    # Training

    def on_stage_start(self, stage: Stage) -> None:
        if stage.anneal:
            for buffer in (self.hard, self.owner, self.means):
                buffer.zero_()
            self.interactions.reset()

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        position = stage_at(self.stages, self.current_epoch)
        if position.stage.anneal:
            self.temperature.fill_(COLDEST ** (position.epoch / position.stage.epochs))

    def check_recipe(self) -> None:
        last = max((i for i, stage in enumerate(self.stages) if stage.anneal), default=-1)
        hardens = "harden" in [stage.name for stage in self.stages[last + 1 :]]
        if not hardens and (last >= 0 or not self.hard):
            raise ValueError(
                "at the end of this recipe trees have not chosen their columns: add {name: harden} after the last "
                "stage with `anneal`, and a stage that trains after it."
            )

    @action
    def initialise(self, projection_set: ProjectionSet) -> None:
        """Puts thresholds at random values of what the splits read; starts at mean and unit of values to predict.

        After `harden`, splits of the chosen columns begin anew.
        """
        rows, targets, found = [], [], 0
        for batch in projection_set:
            rows.append(batch["input"])
            targets.append(batch["target"])
            if (found := found + len(rows[-1])) >= ENOUGH:
                break
        if self.domain.task == "regression" and not self.hard:
            target = torch.cat(targets).flatten(1)
            self.bias.copy_(target.mean(0))
            self.unit.copy_(spread(target))
        self.outputs(torch.cat(rows), None if self.hard else 1.0, initialise=True)

    @action
    def harden(self, projection_set: ProjectionSet) -> None:
        """Makes the choice of columns final, and keeps the pairs with the largest variance on the training set."""
        choices = torch.cat([layer.choice() for layer in self.layers()]).sort(1).values  # (T, P)
        pairs, member = choices.unique(dim=0, return_inverse=True)
        groups = F.one_hot(member, len(pairs)).to(self.weight.dtype)
        moments = torch.zeros(2, len(pairs), self.weight.shape[2], dtype=torch.float64, device=self.weight.device)
        for batch in projection_set:
            parts = torch.einsum("btc,tcd->btd", self.outputs(batch["input"]), self.weight)
            values = torch.einsum("btd,tg->bgd", parts, groups).double()
            moments += torch.stack([values.sum(0), values.square().sum(0)])
        mean, square = projection_set.total(moments) / len(projection_set)
        self.interactions.keep(pairs, (square - mean.square()).sum(1))
        for layer in self.layers():
            layer.choose(self.interactions.allowed(layer.choice()))
        choices = torch.cat([layer.choice() for layer in self.layers()])
        self.owner.copy_(self.interactions.owner(choices))
        self.hard.fill_(True)

    @action
    def purify(self, projection_set: ProjectionSet) -> None:
        """Makes the functions of pairs pure and gives all functions the mean 0; measures the training data."""
        self.require_ready()
        inputs = projection_set.gather(torch.cat([batch["input"] for batch in projection_set]))
        bins = self.entries.fit(inputs)
        functions = torch.cat([self.functions(part)[0] for part in inputs.split(1024)])
        self.interactions.fit(functions, bins)
        self.means.copy_(self.interactions(functions, bins).double().mean(0))

    @torch.no_grad()
    def curves(self) -> tuple[Curve, ...]:
        """The function of each column and pair, at most `bins` points of a column of numbers, in raw values.

        Raises:
            RuntimeError: the action `purify` has not run.
        """
        self.entries.require_fitted("NODEGAM")
        rows, axes = self.entries.rows(), self.entries.axes()
        curves, values = [], self._values(rows)
        for k, axis in enumerate(axes):
            n = len(axis)
            curves.append(Curve(axis.column, (axis,), values[:n, k], self.entries.density[k, :n]))
        for p, unit in enumerate(self.interactions.units(self.names)):
            a, b = self.interactions.pairs[p].tolist()
            if a == b:
                curves.append(no_curve(unit.name, 2, values.shape[2]))
                continue
            both, k = (axes[a], axes[b]), len(axes) + p
            n, m = map(len, both)
            surface = self._values(self.entries.grid(rows, a, b))[:, k].unflatten(0, (n, m))
            curves.append(Curve(unit.name, both, surface, self.interactions.density[p, :n, :m]))
        return tuple(curves)

    def _values(self, x: Tensor) -> Tensor:
        """Contributions (B, K, C) to the scores."""
        with evaluating(self):
            functions = self.interactions(self.functions(x)[0], self.entries.bins(x)) - self.means
        return per_class(functions, self.domain)
