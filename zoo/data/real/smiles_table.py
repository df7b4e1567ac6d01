"""The user's own molecules: a table with a column of SMILES, read by RDKit, the extra `chem`."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.data.base.graphs import GraphData, Graphs
from zoo.data.base.labelled_tables import label_of, read_splits
from zoo.domain.graph_text import GraphText
from zoo.domain.smiles import check_recipe, molecule_graph
from zoo.utils.checks import check_choice
from zoo.utils.csv_files import TableRow
from zoo.utils.paths import expand

LISTED = 10  # rows that an error names


class SmilesTable(GraphData):
    """Molecules in a CSV or TSV file with a column of SMILES and a column of labels, or of values to predict.

    Without a column `split` (train, val, test) and without `test`, 20 % of the molecules of every label are the test
    set; of values, any 20 %. A model that is trained on them reads SMILES.

    Args:
        path: of the table, see `zoo.utils.csv_files.read_table`.
        smiles: name of the column of SMILES.
        label: name of the column of labels.
        task: "classification" or "regression".
        test: another table with the same columns, for the test.
        atoms: features of atoms, see `zoo.domain.smiles.ATOMS`.
        bonds: features of bonds, see `zoo.domain.smiles.BONDS`.
        skip_invalid: whether rows whose SMILES are invalid are left out, with a warning, instead of refused.
        **graphs: the options of `GraphData`.

    Raises:
        ValueError: unknown task or feature.
    """

    def __init__(
        self,
        path: str,
        smiles: str = "smiles",
        label: str = "label",
        task: str = "classification",
        test: str | None = None,
        atoms: Sequence[str] = ("element", "charge", "hydrogens", "aromatic", "ring"),
        bonds: Sequence[str] = ("bond",),
        skip_invalid: bool = False,
        **graphs: Any,
    ) -> None:
        super().__init__(**graphs)
        check_choice(("classification", "regression"), task=task)
        check_recipe(atoms, bonds)
        self.path, self.test = expand(path), expand(test) if test else None
        self.smiles, self.label, self.task = smiles, label, task
        self.atoms, self.bonds, self.skip_invalid = tuple(atoms), tuple(bonds), skip_invalid

    def read(self) -> dict[str, Graphs]:
        regression = self.task == "regression"
        rows = read_splits(self.path, self.test, self.label, (self.smiles,), self.seed, regression)
        labels = {self.label} if regression else {label_of(row, self.label) for row in rows["train"]}
        self.classes = tuple(sorted(labels))
        found = self._molecules(rows)
        return {
            split: Graphs([graph for _, graph in part], self._targets(part), [row.name for row, _ in part])
            for split, part in found.items()
        }

    def _molecules(self, splits: dict[str, list[TableRow]]) -> dict[str, list[tuple[TableRow, GraphText]]]:
        """The rows of each split with their graphs."""
        found: dict[str, list[tuple[TableRow, GraphText]]] = {}
        faults: list[tuple[str, int, str]] = []
        for split, rows in splits.items():
            found[split] = []
            for row in rows:
                try:
                    found[split].append((row, molecule_graph(row.cells[self.smiles], self.atoms, self.bonds)))
                except ValueError as error:
                    faults.append((str(row.path), row.line, f"{row.where}: {error}"))
        if faults:
            more = f" … and {len(faults) - LISTED} more." if len(faults) > LISTED else ""
            said = f"{len(faults)} of {sum(map(len, splits.values()))} rows have no valid SMILES"
            listed = f"{' '.join(said for *_, said in sorted(faults)[:LISTED])}{more}"
            if not self.skip_invalid:
                raise ValueError(f"{said}: correct them, or leave them out with skip_invalid: true. {listed}")
            warnings.warn(f"{said} and are left out. {listed}", stacklevel=2)
        for split, part in found.items():
            if not part:
                raise ValueError(f"{self.path}: no molecule of the split {split} is valid.")
        return found

    def _targets(self, part: Sequence[tuple[TableRow, GraphText]]) -> Tensor:
        if self.task == "regression":
            return torch.tensor([[row.number(self.label)] for row, _ in part])
        number = {name: c for c, name in enumerate(self.classes)}
        return torch.tensor([number[label_of(row, self.label)] for row, _ in part])
