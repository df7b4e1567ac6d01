"""The whole tree as a drawing: all that is left of it, nothing that was cut off, safe."""

import re

import torch

from tests.small_models import SMALL
from zoo.core.evidence import Unit
from zoo.prototypes.layers.tree import Tree
from zoo.views.tree import tree

CLASSES = ("<b>wren</b>", "owl")


def grown() -> Tree:
    made = Tree(2, 2)
    made.leaves.copy_(torch.tensor([[5.0, 0.0], [0.0, 5.0], [0.0, 0.0], [3.0, 0.0]]))
    return made


def test_outline_has_every_question_and_leaf() -> None:
    sure = torch.tensor([5.0, 0.0]).softmax(0)[0].item()
    found = grown().outline()
    assert found["unit"] == 0 and found["absent"]["unit"] == 1 and found["present"]["unit"] == 2
    assert found["absent"]["absent"] == {"class": 0, "probability": sure}
    assert found["absent"]["present"] == {"class": 1, "probability": sure}
    assert found["present"]["absent"]["probability"] == 0.5


def test_outline_leaves_out_what_was_cut_off() -> None:
    made = grown()
    made.prune(0.6)  # the leaf of (0, 0) goes
    found = made.outline()
    assert found["present"] == {"class": 0, "probability": torch.tensor([3.0, 0.0]).softmax(0)[0].item()}


def test_drawing_names_units_and_leaves_and_is_safe() -> None:
    units = [Unit(f"node {n} <script>", "prototype") for n in range(3)]
    drawn = tree(grown().outline(), units, CLASSES)
    assert drawn.count("<path class='absent'") == drawn.count("<path class='present'") == 3
    assert "tree of 3 nodes and 4 leaves" in drawn and "<script>" not in drawn and "<b>" not in drawn
    heights = [float(y) for y in re.findall(r"<text x='[^']+' y='([^']+)'", drawn)]
    assert heights == sorted(set(heights)) and len(heights) == 4  # no two leaves on each other


def test_a_tree_of_one_leaf() -> None:
    assert "0 nodes and 1 leaves" in tree({"class": 1, "probability": 1.0}, [], CLASSES)


def test_prototree_tells_its_outline() -> None:
    model = SMALL["prototree"]().model

    def asked(branch: dict) -> list[int]:
        return [] if "class" in branch else [branch["unit"], *asked(branch["absent"]), *asked(branch["present"])]

    assert sorted(asked(model.outline())) == [n for n in range(model.tree.nodes) if model.tree.cuts[n] == 0]
