"""Molecules drawn at random, whose class is a rule about a group of atoms, with a decoy."""

from random import Random
from typing import Any

import torch

from zoo.data.synthetic.arrays import balanced
from zoo.data.synthetic.benchmark import SyntheticBenchmark
from zoo.data.synthetic.graph_parts import GraphRows, Made, cycle
from zoo.domain import GraphDomain
from zoo.utils.checks import check_at_least, check_between

VALENCE = {"C": 4, "N": 3, "O": 2, "Cl": 1}
COMMON = ("C", "C", "C", "C", "N", "O", "Cl")  # what grows, each as likely
GROWN = (4, 10)  # smallest and largest number of atoms that grow on the first ring
ATOMS = 6 + GROWN[1] + 3 + 3


class RuleMolecules(SyntheticBenchmark):
    """Molecules of carbon, nitrogen, oxygen and chlorine; the class is whether there is a carboxyl group, C(=O)OH.

    Each grows from a ring of six carbons, within the valences of its atoms; hydrogens are not shown. An acid gets a
    carboxyl group, any other molecule the same atoms apart: an aldehyde group, C=O, and an OH elsewhere, so that no
    number of atoms or bonds tells the class. Three further carbons are the decoy: closed to a ring, or a chain. In
    training and validation the decoy of an acid is closed with probability `bias`, that of another molecule with
    probability 1 - bias; in the test both with 1/2.

    Regions are the atoms of the group and the bonds between them; of molecules without the group, the same atoms. The
    factors "group" and "decoy" can be removed.

    Args:
        bias: in [0, 1]; 0.5 is none.
        test_bias: that of the test.
        count: number of training molecules.
        test_count: number of test molecules, and of validation molecules.
        **loading: the options of `DataModule`.

    Raises:
        ValueError: a bias outside of [0, 1].
    """

    factors = ("group",)
    also_removable = ("decoy",)
    ceiling = 1.0

    def __init__(
        self, bias: float = 0.9, test_bias: float = 0.5, count: int = 2000, test_count: int = 400, **loading: Any
    ) -> None:
        super().__init__(**loading)
        check_at_least(1, count=count, test_count=test_count)
        check_between(0, 1, bias=bias, test_bias=test_bias)
        self.counts = {"train": count, "val": test_count, "test": test_count}
        self.bias, self.test_bias = bias, test_bias

    def make_domain(self) -> GraphDomain:
        return GraphDomain(
            classes=("no acid", "acid"),
            features=tuple(f"element = {element}" for element in VALENCE),
            edge_features=("bond = single", "bond = double"),
            nodes=ATOMS,
            edges=ATOMS + 1,
        )

    def draw(self, split: str, count: int, generator: torch.Generator) -> GraphRows:
        random, labels = Random(int(torch.randint(2**62, (), generator=generator))), balanced(count, 2, generator)
        bias = self.test_bias if split == "test" else self.bias
        made = [molecule(bool(acid), bias, random) for acid in labels.tolist()]
        return GraphRows(self.make_domain(), made, labels, [f"{split} molecule {i}" for i in range(count)])


class Growth:
    """A molecule that grows: atoms, bonds, and the free valences of each atom."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.elements: list[str] = []
        self.bonds: list[tuple[int, int, int]] = []  # two atoms, and the order
        self.free: list[int] = []

    def atom(self, element: str) -> int:
        """Adds an atom without bonds, and returns its number."""
        self.elements.append(element)
        self.free.append(VALENCE[element])
        return len(self.elements) - 1

    def bond(self, a: int, b: int, order: int = 1) -> None:
        """Joins two atoms."""
        self.bonds.append((a, b, order))
        self.free[a] -= order
        self.free[b] -= order

    def attach(self, atom: int, to_carbon: bool = False) -> None:
        """Joins an atom to a random earlier one that has a free valence."""
        open_atoms = [i for i in range(atom) if self.free[i] > 0 and (not to_carbon or self.elements[i] == "C")]
        self.bond(self.random.choice(open_atoms), atom)

    def close(self, *atoms: int) -> None:
        """Fills the free valences of atoms with hydrogens."""
        for atom in atoms:
            self.free[atom] = 0


def molecule(acid: bool, bias: float, random: Random) -> Made:
    """A random molecule, see `RuleMolecules`."""
    grown = Growth(random)
    for _ in range(6):
        grown.atom("C")
    for a, b in cycle(6):
        grown.bond(a, b)
    for _ in range(random.randint(*GROWN)):
        grown.attach(grown.atom(random.choice(COMMON)))
    group = _group(grown, acid)
    decoy = [grown.atom("C") for _ in range(3)]
    closed = random.random() < (bias if acid else 1 - bias)
    for a, b in cycle(3) if closed else cycle(3)[:2]:
        grown.bond(decoy[a], decoy[b])
    grown.bond(random.choice([i for i in range(decoy[0]) if grown.free[i] > 0]), decoy[0])
    features = [[float(element == name) for name in VALENCE] for element in grown.elements]
    pairs = [(a, b) for a, b, _ in grown.bonds]
    bonds = [[float(order == 1), float(order == 2)] for *_, order in grown.bonds]
    return Made(features, pairs, {"group": group, "decoy": decoy}, bonds).shuffled(random)


def _group(grown: Growth, acid: bool) -> list[int]:
    """Adds C(=O)O, or C=O and O at another carbon, and returns their atoms."""
    carbon = grown.atom("C")
    grown.attach(carbon, to_carbon=True)
    double = grown.atom("O")
    grown.bond(carbon, double, 2)
    if not acid:
        grown.close(carbon)
    single = grown.atom("O")
    if acid:
        grown.bond(carbon, single)
    else:
        grown.attach(single, to_carbon=True)
    grown.close(carbon, single)
    return [carbon, double, single]
