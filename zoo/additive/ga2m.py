"""GA2M: an additive model of columns and pairs of columns, whose curves are tables that are solved for directly.

Lou, Caruana, Gehrke, Hooker: "Accurate Intelligible Models with Pairwise Interactions", KDD 2013; the smoothness of
curves is estimated by restricted maximum likelihood as in Wood: "Fast stable restricted maximum likelihood and marginal
likelihood estimation of semiparametric generalized linear models", JRSS B 2011.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo.additive.layers.blocks import BinColumn
from zoo.additive.layers.edits import edited
from zoo.additive.layers.effects import Effects
from zoo.additive.layers.fit import AdditiveTables, FitOptions, fit_additive
from zoo.additive.layers.readout import table_of
from zoo.core.additive_evidence import additive_evidence, outputs_of
from zoo.core.curves import Curve
from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.core.unit_logits import UnitLogits
from zoo.domain import Domain, TableDomain
from zoo.networks.feature_networks import column_support
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space, task_loss
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.errors import did_you_mean

RECIPE = Recipe(
    stages=(Stage("solve"), Stage("measure", epochs=1, train=())),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)
# Rows for each bin of a column, rows for each pair, bins of all columns, bins of a column.
ROWS, PAIR_ROWS, MOST, FEWEST = 8, 200, 4096, 16


@register(
    "ga2m",
    modality="table",
    paper="Lou et al., KDD 2013",
    small=Small({"pairs": 2, "bins": 8, "pair_bins": 4}, variants={"mains": Small({"pairs": 0})}),
)
class GA2M(UnitLogits):
    """Scores a row by a sum of tables of one column and of pairs of columns, solved for in seconds.

        score = b + Σ_k f_k(bin of x_k) + Σ_(i, j) f_ij(bin of x_i, bin of x_j)     for two classes the log-odds

    The action `solve` divides each column of numbers into bins of about equally many training rows, and fits all tables
    by penalised maximum likelihood: main effects by Newton steps, pairs ranked by FAST on what is left, then both in
    turns; the smoothness of every table is estimated on the training rows too. Pairs have no main effects left in them
    (`zoo.additive.layers.purify`); all tables have the mean 0 over the training rows, and standard errors.

    For two classes and for a single value the activation of a unit is the number in its table. `curves()` are the model
    itself; `edited` and `train.py edit` change them.

    Differs from the published code: tables are penalised and solved for (there: grown by boosting shallow trees), so
    there is no learning rate, number of rounds, or bagging.

    Args:
        domain: what inputs and outputs mean (`data.domain`): a table.
        pairs: number of pairs; by default three times the number of columns, and at most one for 200 training rows.
        bins: largest number of bins of a column of numbers; fewer on tables with less than eight rows for each bin, or
            with more than 4,096 bins in all, but at least 16.
        pair_bins: the same in pairs, 2 to 64.
        monotone: "increasing" or "decreasing" by name of a column of numbers, for values and for the log-odds of two
            classes: its curve never falls, or never rises, and the column is in no pair.
        edits: the changes that people made to the curves after training, see `zoo.additive.layers.edits`; `edited` sets
            it.
        held: the earlier changes that `refit` held, for the record.
        recipe: see `zoo.training.recipe.Recipe`; parameter group: intercept.

    Raises:
        ValueError: inputs other than a table, or a number out of range.
    """

    default_recipe = RECIPE
    weighs_rows = True
    effects: Effects
    place: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        pairs: int | None = None,
        bins: int = 256,
        pair_bins: int = 32,
        monotone: Mapping[str, str] | None = None,
        edits: Sequence[Mapping[str, Any]] = (),
        held: Sequence[Mapping[str, Any]] = (),
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_at_least(2, bins=bins, pair_bins=pair_bins)
        check_at_least(0, pairs=pairs or 0)
        self.rows_a_pair = PAIR_ROWS if pairs is None else 1
        table = table_of(self.domain, "GA2M")
        count, outputs = len(table.layout), outputs_of(table)
        most = count * (count - 1) // 2
        self.pair_bins, self.edits, self.signs = pair_bins, tuple(edits), signs_of(monotone or {}, table)
        self.effects = Effects(table, outputs, min(3 * count if pairs is None else pairs, most), bins, pair_bins)
        self.original = Effects(table, outputs, len(self.effects.columns), bins, pair_bins) if edits else None
        self.intercept = nn.Parameter(torch.zeros(outputs))
        place = column_support(table.slices, [(k,) for k in range(count)])
        self.register_buffer("place", place, persistent=False)
        self.space = score_space(self.domain)

    def evidence(self, x: Tensor) -> Evidence:
        support = None
        if not self.training:
            columns = self.effects.columns
            pairs = self.place[columns.clamp_min(0)].amax(1) * (columns[:, :1] >= 0)  # (P, F)
            support = torch.cat([self.place, pairs]).expand(x.shape[0], -1, -1)
        return additive_evidence(self.effects(x), self.intercept, support, self.domain)

    def units(self) -> tuple[Unit, ...]:
        mains, used = len(self.place), len(self.place) + len(self.effects.used)
        return tuple(
            Unit(name, "feature" if k < mains else "pair", source={} if k < used else {"pruned": True})
            for k, name in enumerate(self.effects.names())
        )

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        weights = batch.get("class_weights"), batch.get("weight")
        return {"task": task_loss(scores, batch["target"], self.domain, *weights)}

    @action
    def solve(self, projection_set: ProjectionSet) -> None:
        """Fits bins, tables and the intercept to the training set."""
        inputs, target, weight = self._training_rows(projection_set)
        numbers = int(self.effects.bins.numeric.sum())
        enough = max(FEWEST, min(len(inputs) // ROWS, MOST // max(numbers, 1)))
        self.effects.bins.fit(inputs, enough)
        bins = self.effects.bins(inputs)
        del inputs
        pairs = min(len(self.effects.columns), len(bins) // self.rows_a_pair)
        options = FitOptions(pairs=pairs, pair_bins=self.pair_bins, monotone=self.signs)
        for output, found in enumerate(self._fits(bins, target, weight, options)):
            for p, pair in enumerate(found.pairs):
                self.effects.columns[p] = torch.tensor(pair, device=self.effects.columns.device)
            self._take_over(found, output)
        self.effects.measure(bins, weight)

    @torch.no_grad()
    def refit(self, projection_set: ProjectionSet) -> "GA2M":
        """A copy whose curves are fitted again, except for edited ones and for pairs of their columns.

        The copy is a new original: `edited([])` gives it back, and not the curves before.

        Raises:
            ValueError: there are no edits.
        """
        if not self.edits:
            raise ValueError("there are no edits to hold while the other curves are fitted again.")
        given = {**self.hparams, "edits": [], "held": [*self.hparams["held"], *self.edits]}
        model = type(self)(**given).to(self.device)
        model.effects.load_state_dict(self.effects.state_dict())
        effects, names = model.effects, self.effects.names()
        changed = {edit["unit"] for edit in self.edits}
        mains = [k for k in range(len(self.place)) if names[k] in changed]
        pairs = [
            p for p, pair in enumerate(effects.used) if names[len(self.place) + p] in changed or set(pair) & set(mains)
        ]
        inputs, target, weight = self._training_rows(projection_set)
        bins, sizes = effects.bins(inputs), effects.bins.sizes.tolist()
        offset = self.effects(inputs)[:, [*mains, *(len(self.place) + p for p in pairs)]].sum(1).double()
        options = FitOptions(
            pairs=[pair for p, pair in enumerate(effects.used) if p not in pairs],
            pair_bins=self.pair_bins,
            monotone={k: sign for k, sign in self.signs.items() if k not in mains},
            left_out=mains,
            coarse=[merged[:size].long() for merged, size in zip(effects.merged, sizes, strict=True)],
        )
        for output, found in enumerate(model._fits(bins, target, weight, options, offset)):
            model._take_over(found, output, mains)
        effects.measure(bins, weight)
        return model.eval()

    def _training_rows(self, projection_set: ProjectionSet) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (N, F), targets and weights (N,) of the training set, without a second copy of them in memory."""
        count, start = len(range(projection_set.rank, len(projection_set), projection_set.world)), 0
        found: dict[str, Tensor] = {}
        for batch in projection_set:
            end = start + len(batch["input"])
            for name, part in {**batch, "weight": self._weights(batch)}.items():
                if name in ("input", "target", "weight"):
                    found.setdefault(name, part.new_empty(count, *part.shape[1:]))[start:end] = part
            start = end
        inputs, target, weight = (projection_set.gather(found[name]) for name in ("input", "target", "weight"))
        return inputs, target, weight

    def _weights(self, batch: Batch) -> Tensor:
        """(B,) of the rows, with those of their classes."""
        weight = batch.get("weight", torch.ones_like(batch["input"][:, 0]))
        return weight if self.class_weights is None else weight * self.class_weights[batch["target"]]

    def _fits(
        self, bins: Tensor, target: Tensor, weight: Tensor, options: FitOptions, offset: Tensor | None = None
    ) -> list[AdditiveTables]:
        """One fit; for several values to predict, one for each, with the pairs of the first."""
        columns = [
            BinColumn(size, column.numeric, len(column.missing) if column.numeric else 0)
            for size, column in zip(self.effects.bins.sizes.tolist(), self.effects.bins.columns, strict=True)
        ]
        shared: dict[str, Any] = {"weight": weight, "options": options}
        if self.domain.task == "classification":
            classes = len(self.domain.classes)
            task = "binary" if classes == 2 else "multiclass"
            return [fit_additive(bins, columns, target, task, classes=classes, offset=offset, **shared)]
        fits: list[AdditiveTables] = []
        for c, values in enumerate(target.view(len(bins), -1).unbind(1)):
            own = None if offset is None else offset[:, c : c + 1]
            fits.append(fit_additive(bins, columns, values, "regression", offset=own, **shared))
            shared["options"] = replace(options, pairs=fits[0].pairs)
        return fits

    def _take_over(self, found: AdditiveTables, output: int, held: Sequence[int] = ()) -> None:
        """Copies the tables of a fit into the buffers, from column `output` of the numbers on.

        Args:
            found: the fit, whose pairs are among those of the model.
            output: first of the numbers.
            held: columns whose curve stays.
        """
        effects, last = self.effects, output + len(found.intercept)
        self.intercept[output:last] = found.intercept.to(self.intercept)
        for k, (main, error, merged) in enumerate(zip(found.mains, found.errors, found.coarse, strict=True)):
            if k in held:
                continue
            effects.mains[k, : len(main), output:last] = main.to(effects.mains)
            effects.errors[k, : len(error), output:last] = error.to(effects.errors)
            effects.merged[k, : len(merged)] = merged.to(effects.merged)
        places = {pair: p for p, pair in enumerate(effects.used)}
        for pair, *both in zip(found.pairs, found.tables, found.pair_errors, strict=True):
            place = (places[pair], *map(slice, both[0].shape[:2]), slice(output, last))
            effects.pairs[place], effects.pair_errors[place] = both

    def curves(self) -> tuple[Curve, ...]:
        """The curve of each unit, which is the model itself.

        Raises:
            RuntimeError: the action `solve` has not run.
        """
        self.require_ready()
        return self.effects.curves()

    def require_ready(self) -> None:
        if not bool(self.effects.density.any()):
            raise RuntimeError("GA2M is not fitted yet; train it with its recipe, whose action `solve` fits it.")

    def edited(self, edits: Sequence[Mapping[str, Any]]) -> "GA2M":
        """A copy with changed curves, which keeps the original ones: `edited([])` gives them back.

        Args:
            edits: all changes to the original curves, see `zoo.additive.layers.edits`.

        Raises:
            ValueError: an edit that is not possible.
            RuntimeError: the model is not fitted.
        """
        source = self.effects if self.original is None else self.original
        arguments = {**self.hparams, "edits": [dict(edit) for edit in edits]}
        model = type(self)(**arguments).to(self.device)
        model.intercept.data.copy_(self.intercept.data)
        for effects in (model.effects, *([model.original] if model.original is not None else [])):
            effects.load_state_dict(source.state_dict())
        if edits:
            model.effects.set_curves(edited(model.curves(), edits, self.domain.classes))
        return model.eval()


def signs_of(monotone: Mapping[str, str], table: TableDomain) -> dict[int, int]:
    """1 (increasing) or -1 (decreasing) by number of the column.

    Raises:
        ValueError: no such column, one of categories, another direction, or scores of several classes.
    """
    columns, signs = {column.name: (k, column) for k, column in enumerate(table.layout)}, {}
    for name, direction in monotone.items():
        if name not in columns:
            raise ValueError(f"monotone names the column '{name}'; {did_you_mean(name, columns)}")
        check_choice(("increasing", "decreasing"), **{f"monotone: {name}": direction})
        k, column = columns[name]
        if not column.numeric or (table.task == "classification" and len(table.classes) > 2):
            raise ValueError(
                f"monotone needs columns of numbers, and values or two classes to predict; got '{name}', a column of "
                f"kind '{column.kind}', and {len(table.classes)} {table.task} outputs."
            )
        signs[k] = 1 if direction == "increasing" else -1
    return signs
