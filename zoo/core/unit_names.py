"""Names of units by annotated attributes, as a file beside a checkpoint, and explanations that use them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from zoo.core.evidence import Unit
from zoo.core.explanation import Explanation
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json
from zoo.utils.paths import check_file

LARGEST = 1 << 26  # bytes of a file of names
FORMAT = "zoo unit names 1"


@dataclass(frozen=True)
class UnitName:
    """The formula of one unit, and how well it describes when the unit fires.

    Attributes:
        unit: name of the unit in the model.
        formula: of attributes; "" if the unit never fires, or always.
        iou: intersection over union of the rows where it fires and where the formula is true, in those of the search.
        held_out: the same in rows that the search did not see.
        shuffled: the highest that the same search finds with attributes that are dealt to other inputs.
        threshold: the activation from which the unit fires.
        fires, holds, both: support in the held-out rows: where the unit fires, where the formula is true, and both.
    """

    unit: str
    formula: str
    iou: float
    held_out: float
    shuffled: float
    threshold: float
    fires: int
    holds: int
    both: int

    @property
    def credible(self) -> bool:
        """Whether the formula is better than those for shuffled attributes, in the rows of the search and in others."""
        return bool(self.formula) and min(self.iou, self.held_out) > self.shuffled


@dataclass(frozen=True)
class UnitNames:
    """The names of a model's units.

    Attributes:
        names: one for each unit, in order.
        about: how they were found, as plain data: checkpoint (hash), attributes, rows and options.
    """

    names: tuple[UnitName, ...]
    about: Mapping[str, Any]

    def units(self, units: Sequence[Unit]) -> tuple[Unit, ...]:
        """Units named by their formula where it is credible, with their own name in brackets.

        Raises:
            ValueError: the units are not those that were named.
        """
        known = {name.unit: name for name in self.names}
        if missing := [unit.name for unit in units if unit.name not in known]:
            raise ValueError(
                f"the names are of {len(known)} units of another model, which has no unit '{missing[0]}'; write them "
                "anew with `python train.py name`."
            )
        return tuple(_named(unit, known[unit.name]) for unit in units)

    def of(self, explanation: Explanation) -> Explanation:
        """The same explanation with the units named; nothing else changes."""
        units = self.units(explanation.units)
        known = {own.name: unit.name for own, unit in zip(explanation.units, units, strict=True)}
        changes = tuple(
            one and {**one, "units": [known[name] for name in one["units"]]} for one in explanation.counterfactuals
        )
        return replace(explanation, units=units, counterfactuals=changes)

    def write(self, path: Path) -> None:
        """Writes the names as JSON."""
        plain = {"format": FORMAT, "about": dict(self.about), "units": [asdict(name) for name in self.names]}
        write_text(path, to_json(plain, indent=1) + "\n")


def _named(unit: Unit, name: UnitName) -> Unit:
    if not name.credible:
        return unit
    named = {"iou": name.held_out, "shuffled": name.shuffled, "support": name.both}
    text = unit.name if name.formula == unit.name else f"{name.formula} ({unit.name})"
    return replace(unit, name=text, source={**unit.source, "named": named})


def read_names(path: Path) -> UnitNames:
    """Reads a file that `UnitNames.write` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is another kind of file.
    """
    check_file(path, "file of names")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} is too large for a file of names ({path.stat().st_size:,} bytes).")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain["format"] != FORMAT:
            raise ValueError(f"its format is '{plain['format']}', not '{FORMAT}'")
        names = [_checked(one) for one in plain["units"]]
        return UnitNames(tuple(names), dict(plain["about"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a file of `train.py name` ({error}); write it anew.") from error


def _checked(plain: Mapping[str, Any]) -> UnitName:
    """The name of one unit, from plain data."""
    kinds: dict[str, Any] = {field.name: field.type for field in fields(UnitName)}
    if plain.keys() != kinds.keys():
        raise ValueError(f"a unit must have {', '.join(kinds)}")
    values: dict[str, Any] = {key: float(value) if kinds[key] is float else value for key, value in plain.items()}
    for key, value in values.items():
        if type(value) is not kinds[key]:
            raise ValueError(f"'{key}' must be {kinds[key].__name__}, got {value!r}")
    return UnitName(**values)
