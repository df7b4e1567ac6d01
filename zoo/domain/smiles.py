"""Molecules as SMILES, read by RDKit, the extra `chem`: features of atoms and bonds by name."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from zoo.domain.graph_text import IS, GraphText
from zoo.utils.checks import check_choice
from zoo.utils.csv_files import TABLES, read_table
from zoo.utils.optional import need
from zoo.utils.paths import read_text

ENDINGS = frozenset({".smi", *TABLES})
LONGEST = 10_000  # characters of a SMILES; the time of RDKit grows with the square, here to a second or two
ORDERS = ("single", "double", "triple", "aromatic")

ATOMS: dict[str, Callable[[Any], str | int]] = {
    "element": lambda atom: atom.GetSymbol(),
    "charge": lambda atom: atom.GetFormalCharge(),
    "hydrogens": lambda atom: atom.GetTotalNumHs(),
    "aromatic": lambda atom: int(atom.GetIsAromatic()),
    "ring": lambda atom: int(atom.IsInRing()),
    "hybridisation": lambda atom: str(atom.GetHybridization()).lower(),
    "chirality": lambda atom: atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else "none",
    "degree": lambda atom: atom.GetDegree(),
}
"""Features of atoms. Texts are categories; `hydrogens` are those that are not atoms of the graph."""

BONDS: dict[str, Callable[[Any], str | int]] = {
    "bond": lambda bond: str(bond.GetBondType()).lower(),
    "ring": lambda bond: int(bond.IsInRing()),
    "conjugated": lambda bond: int(bond.GetIsConjugated()),
    "stereo": lambda bond: str(bond.GetStereo()).removeprefix("STEREO").lower(),
}
"""Features of bonds, likewise."""


def molecule(smiles: str) -> Any:
    """The molecule of RDKit.

    Raises:
        ImportError: RDKit is not installed.
        ValueError: the text is not SMILES of a molecule with an atom, or a valence is impossible; with the reason.
    """
    chem, base = need("rdkit.Chem", "chem"), need("rdkit.rdBase", "chem")
    text = smiles.strip()
    if len(text) > LONGEST:
        raise ValueError(
            f"a SMILES of {len(text):,} characters ('{text:.20}…') is too long; at most {LONGEST:,} are read."
        )
    with base.BlockLogs():  # RDKit prints the reason
        found = chem.MolFromSmiles(text, sanitize=False) if text and len(text.split()) == 1 else None
        if found is None:
            raise ValueError(f"'{smiles:.80}' is not SMILES; expected one molecule, such as CCO.")
        if not found.GetNumAtoms():
            raise ValueError(f"'{smiles:.80}' is a molecule without atoms.")
        if problems := chem.DetectChemistryProblems(found):
            raise ValueError(f"'{smiles:.80}' is not a possible molecule: {problems[0].Message()}.")
        return chem.MolFromSmiles(text)


def molecule_graph(smiles: str, atoms: Collection[str], bonds: Collection[str]) -> GraphText:
    """The graph of a molecule: its atoms in the order of the SMILES, and its bonds.

    Hydrogens are atoms of the graph only where RDKit keeps them, such as isotopes.

    Args:
        smiles: of the molecule; parts that are not bonded are separated by dots.
        atoms: names of features, see `ATOMS`.
        bonds: names of features, see `BONDS`.

    Raises:
        ImportError, ValueError: see `molecule`.
    """
    found = molecule(smiles)
    nodes = [{name: ATOMS[name](atom) for name in atoms} for atom in found.GetAtoms()]
    edges = [{name: BONDS[name](bond) for name in bonds} for bond in found.GetBonds()]
    ends = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in found.GetBonds()]
    names = [f"{atom.GetSymbol()}{atom.GetIdx()}" for atom in found.GetAtoms()]
    return GraphText(tuple(names), tuple(nodes), tuple(ends), tuple(edges), {})


def recipe_of(columns: Iterable[str]) -> tuple[str, ...]:
    """Names of the features that columns such as "element = C" and "charge" hold."""
    return tuple(dict.fromkeys(name.rpartition(IS)[0] or name for name in columns))


def check_recipe(atoms: Iterable[str], bonds: Iterable[str]) -> None:
    """Refuses names of features that are not known.

    Raises:
        ValueError: names the closest one.
    """
    for name in atoms:
        check_choice(tuple(ATOMS), atoms=name)
    for name in bonds:
        check_choice(tuple(BONDS), bonds=name)


def read_smiles(path: Path, column: str) -> list[str]:
    """The SMILES of a file, which are not checked.

    Args:
        path: of a table (.csv, .tsv), or of a file whose lines begin with SMILES; a name may follow.
        column: of the table.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not text, or a table without this column.
    """
    if path.suffix.lower() in TABLES:
        return [row.cells[column].strip() for row in read_table(path, (column,), "table of molecules").rows]
    return [line.split()[0] for line in read_text(path, "file of SMILES").splitlines() if line.strip()]
