"""Names the units of any model by the annotated attributes of its data, with what chance would give."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.core.module import SelfInterpretable
from zoo.core.unit_names import UnitName, UnitNames
from zoo.data.base.module import DataModule
from zoo.domain import TableDomain
from zoo.metrics.concepts.compositions import Compositions, compose, intersection_over_union
from zoo.metrics.faithfulness.rows import NumberedBatches
from zoo.training.modes import evaluating
from zoo.utils.checks import check_at_least

SOURCES = ("concepts", "regions", "columns")
LARGEST = 1 << 28  # activations that are kept
QUARTILES = (0.25, 0.75)


class Observed(NamedTuple):
    """What units did in some inputs.

    Attributes:
        activation: (N, U) of each input, or of each of its cells.
        attributes: (N, A) bool.
        inputs: number of inputs, whose rows are consecutive.
    """

    activation: Tensor
    attributes: Tensor
    inputs: int


def name_units(
    model: SelfInterpretable,
    data: DataModule,
    source: str | None = None,
    length: int = 3,
    beam: int = 20,
    share: float = 0.1,
    limit: int = 2000,
    shuffles: int = 3,
    seed: int = 0,
) -> UnitNames:
    """Finds the formula of attributes that describes best when each unit of a model fires.

    A unit fires in the `share` of rows of highest activation. Formulas are searched on training data and measured again
    on validation data, beside the best formulas for attributes that are dealt to other inputs (`shuffles` times).

    Args:
        model: ready to explain.
        data: with attributes.
        source: "concepts", annotated for each input (unknown ones count as absent); "regions", places of annotated
            parts of images, with the concepts of each part where the data have both, compared with where units fire;
            "columns", the columns of a table in quarters and levels. By default the first that the data have.
        length: largest number of attributes of a formula.
        beam: see `compose`.
        share: of the rows in which a unit fires, in (0, 0.5].
        limit: inputs of each split.
        shuffles: at least 1.
        seed: of the shuffles.

    Raises:
        ValueError: the data have no such attributes, units have no place, or a number is out of range.
    """
    if not 0 < share <= 0.5:
        raise ValueError(f"share must be above 0 and at most 0.5; got {share}.")
    check_at_least(1, shuffles=shuffles, limit=limit)
    data.prepare_data()
    data.setup("fit")
    source = source or default_source(data)
    train, val = (data.projection_dataset(), data.val_dataset())
    batches = [NumberedBatches(items, limit, data.batch_size) for items in (train, val)]
    reader = Reader(model, data, source)
    searched, other = (reader.observe(each) for each in batches)
    threshold = thresholds(searched.activation, share)
    fired, again = searched.activation > threshold, other.activation > threshold
    found = compose(fired, searched.attributes, length, beam)
    chance = torch.stack([compose(fired, dealt(searched, seed + i), length, beam).iou for i in range(shuffles)]).amax(0)
    about = {
        "source": source,
        "length": length,
        "beam": beam,
        "share": share,
        "shuffles": shuffles,
        "seed": seed,
        "attributes": len(reader.names),
        "inputs": {"search": searched.inputs, "held out": other.inputs},
        "rows": {"search": len(searched.activation), "held out": len(other.activation)},
    }
    names = described([unit.name for unit in model.units()], found, reader.names, chance, threshold, again, other)
    return UnitNames(tuple(names), about)


def described(
    units: Sequence[str],
    found: Compositions,
    attributes: Sequence[str],
    chance: Tensor,
    threshold: Tensor,
    fired: Tensor,
    other: Observed,
) -> Iterator[UnitName]:
    """The name of each unit, measured in other rows, in which units fired (N, U)."""
    holds = found.holds(other.attributes)
    columns = (found.iou, intersection_over_union(fired, holds), chance, threshold)
    counts = (fired.sum(0), holds.sum(0), (fired & holds).sum(0))
    numbers, supports = (torch.stack(part, 1).tolist() for part in (columns, counts))
    for unit, text, number, support in zip(units, found.texts(attributes), numbers, supports, strict=True):
        yield UnitName(unit, text, *number, *support)


def thresholds(activation: Tensor, share: float) -> Tensor:
    """(U,) above which at most a share of the rows (N, U) lies; a unit never fires at its least value."""
    place = min(int(len(activation) * (1 - share)), len(activation) - 1)
    return activation.sort(0).values[place].maximum(activation.amin(0))


def dealt(observed: Observed, seed: int) -> Tensor:
    """The attributes of each input dealt to another one; the cells of an input stay together."""
    order = torch.randperm(observed.inputs, generator=torch.Generator().manual_seed(seed))
    return observed.attributes.unflatten(0, (observed.inputs, -1))[order].flatten(0, 1)


def default_source(data: DataModule) -> str:
    """The attributes that data have.

    Raises:
        ValueError: none.
    """
    domain = data.make_domain()
    if domain.concepts:
        return "concepts"
    if isinstance(domain, TableDomain):
        return "columns"
    if getattr(data, "factors", ()):
        return "regions"
    raise ValueError("these data have no attributes to name units by: no concepts, no regions and no columns.")


class Reader:
    """Reads activations and attributes.

    Args:
        model: whose units.
        data: with attributes.
        source: one of `SOURCES`.

    Attributes:
        names: of the attributes; of columns known after the first call of `observe`.

    Raises:
        ValueError: the data do not have them, or the units have no place.
    """

    def __init__(self, model: SelfInterpretable, data: DataModule, source: str) -> None:
        self.model, self.source, self.domain = model, source, data.make_domain()
        self.factors: tuple[str, ...] = tuple(getattr(data, "factors", ()))
        self.quartiles: Tensor | None = None
        has = {
            "concepts": bool(self.domain.concepts),
            "regions": bool(self.factors) and self.domain.modality == "image",
            "columns": isinstance(self.domain, TableDomain),
        }
        if not has.get(source):
            known = ", ".join(name for name, there in has.items() if there) or "no attributes"
            raise ValueError(f"these data have no attributes of kind '{source}'; they have {known}.")
        self.names = self._names()

    def _names(self) -> list[str]:
        if self.source == "concepts":
            return list(self.domain.concepts)
        if self.source == "regions":
            return [*self.factors, *(name for factor in self.factors for name in self._variants(factor))]
        assert isinstance(self.domain, TableDomain)
        names = []
        for column in self.domain.layout:
            if column.kind == "category":
                names += [f"{column.name} = {level}" for level in column.levels]
            else:
                names += [f"{column.name} low", f"{column.name} high"]
            names += [f"{column.name} missing"] if column.missing else []
        return names

    def _variants(self, factor: str) -> list[str]:
        """The concepts of a part."""
        return list(self.domain.concept_groups.get(factor, ()))

    @torch.no_grad()
    def observe(self, batches: NumberedBatches) -> Observed:
        """Runs the model on all batches.

        Raises:
            ValueError: units have no place in images, or there are too many activations to keep.
        """
        activations: list[Tensor] = []
        attributes: list[Tensor] = []
        inputs: list[Tensor] = []
        count = 0
        with evaluating(self.model):
            for batch in batches:
                evidence = self.model.step(batch["input"].to(self.model.device))[1]
                if self.source == "regions":
                    fired, known = self._places(evidence.activation, evidence.support, batch)
                else:
                    fired, known = evidence.activation.cpu(), batch.get("concepts")
                count += fired.numel()
                if count > LARGEST:
                    raise ValueError(f"more than {LARGEST:,} activations do not fit; lower the limit of inputs.")
                activations.append(fired)
                attributes += [] if known is None else [known > 0.5]
                inputs += [batch["input"]] if self.source == "columns" else []
        rows = len(batches.rows)
        known = self._columns(torch.cat(inputs)) if self.source == "columns" else torch.cat(attributes)
        return Observed(torch.cat(activations), known, rows)

    def _places(self, activation: Tensor, support: Tensor | None, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Activations (B h w, U) and attributes (B h w, A) of the cells of the grid of the supports."""
        if support is None or support.ndim != 4:
            raise ValueError("the units of this model have no place in images; name them by 'concepts'.")
        cells = (activation[..., None, None] * support).flatten(2).mT.flatten(0, 1).cpu()
        here = F.adaptive_max_pool2d(batch["regions"].float(), support.shape[2:])  # (B, R, h, w)
        parts = [here]
        labels = batch.get("concepts")
        for r, factor in enumerate(self.factors):
            if labels is not None and (variants := self._variants(factor)):
                columns = [self.domain.concepts.index(name) for name in variants]
                parts.append(here[:, r : r + 1] * (labels[:, columns] > 0.5).float()[..., None, None])
        return cells, torch.cat(parts, 1).flatten(2).mT.flatten(0, 1)

    def _columns(self, x: Tensor) -> Tensor:
        """(N, A) bool of rows (N, F): low and high quarters of numbers in the first rows, levels, missing cells."""
        assert isinstance(self.domain, TableDomain)
        if self.quartiles is None:
            self.quartiles = torch.quantile(x.double(), torch.tensor(QUARTILES, dtype=torch.double), 0)
        known = []
        for column, part in zip(self.domain.layout, self.domain.slices, strict=True):
            own = x[:, part]
            if column.kind == "category":
                indicators = own
            else:
                low, high = self.quartiles[:, part.start]
                here = torch.ones(len(x), dtype=torch.bool) if own.shape[1] == 1 else own[:, 1:].sum(1) < 0.5
                known += [(own[:, 0] <= low) & here, (own[:, 0] >= high) & here]
                indicators = own[:, 1:]
            levels = len(column.levels) if column.kind == "category" else 0
            known += [indicators[:, i] > 0.5 for i in range(levels)]
            known += [indicators[:, levels:].sum(1) > 0.5] if column.missing else []
        return torch.stack(known, 1)
