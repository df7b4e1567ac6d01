"""Molecules as SMILES: features by name, files, errors with the text, and what happens without RDKit."""

import json
import sys
from pathlib import Path

import pytest
import torch

from zoo.domain import Domain, GraphDomain
from zoo.domain.inputs import Literal, inputs_of, read_input
from zoo.domain.smiles import ATOMS, BONDS, molecule_graph

DOMAIN = GraphDomain(
    classes=("a", "b"),
    features=("element = C", "element = O", "charge", "hydrogens"),
    edge_features=("bond = single", "bond = double"),
    nodes=5,
    edges=5,
    smiles="molecule",
)


def test_features_of_acetic_acid_and_of_its_ion() -> None:
    pytest.importorskip("rdkit")
    graph = molecule_graph("CC(=O)[O-]", ("element", "charge", "hydrogens"), ("bond",))
    assert [tuple(node.values()) for node in graph.nodes] == [("C", 0, 3), ("C", 0, 0), ("O", 0, 0), ("O", -1, 0)]
    assert graph.ends == ((0, 1), (1, 2), (1, 3)) and graph.names == ("C0", "C1", "O2", "O3")
    assert [edge["bond"] for edge in graph.edges] == ["single", "double", "single"]
    x = DOMAIN.preprocess("CC(=O)O")
    assert x[:4, 1:5].tolist() == [[1, 0, 0, 3], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 1]]
    assert x[5:8, :5].tolist() == [[1, 0, 1, 1, 0], [1, 1, 2, 0, 1], [1, 1, 3, 1, 0]]
    assert DOMAIN.warnings("CC(=O)O", x) == []
    assert DOMAIN.warnings("CCBr", x) == ["The model does not know element = Br."]


def test_every_feature_of_a_molecule_with_stereochemistry() -> None:
    pytest.importorskip("rdkit")
    graph = molecule_graph("C[C@H](O)/C=C/c1ccccc1", tuple(ATOMS), tuple(BONDS))
    centre, ring = graph.nodes[1], graph.nodes[-1]
    assert (centre["chirality"], centre["hybridisation"], centre["degree"], centre["aromatic"]) == ("S", "sp3", 3, 0)
    assert (ring["aromatic"], ring["ring"], ring["hybridisation"], ring["hydrogens"]) == (1, 1, "sp2", 1)
    kinds = {(edge["bond"], edge["ring"], edge["conjugated"], edge["stereo"]) for edge in graph.edges}
    assert {("double", 0, 1, "e"), ("aromatic", 1, 1, "none"), ("single", 0, 0, "none")} <= kinds


def test_invalid_smiles_are_named_with_the_reason() -> None:
    pytest.importorskip("rdkit")
    for text in ("CCx", "C1CC", "", "C C", "molecules.txt"):
        with pytest.raises(ValueError, match=f"'{text}' is not SMILES"):
            DOMAIN.preprocess(text)
    with pytest.raises(ValueError, match=r"'CO\(C\)C' is not a possible molecule: .*valence for atom # 1 O, 3"):
        DOMAIN.preprocess("CO(C)C")
    with pytest.raises(ValueError, match=r"a SMILES of 10,001 characters .'CCC.*'. is too long; at most 10,000"):
        DOMAIN.preprocess("C" * 10_001)
    with pytest.raises(ValueError, match="6 nodes; the model reads at most 5"):
        DOMAIN.preprocess("CCCCCC")


def test_files_rows_and_texts(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    (tmp_path / "a.smi").write_text("CCO ethanol\n\nC1CC broken\nCO\n")
    (tmp_path / "b.csv").write_text("id,molecule\n1,O\n")
    (tmp_path / "c.json").write_text("{}")
    found = list(inputs_of([str(tmp_path), "C/C=C/C", "[OH-].[OH-]"], DOMAIN))
    assert [str(one).rpartition("/")[2] for one in found[:3]] == ["a.smi row 1", "a.smi row 2", "a.smi row 3"]
    assert found[4:] == [Literal("C/C=C/C"), Literal("[OH-].[OH-]")]
    reading = read_input(found[0], DOMAIN)
    assert reading.text == "CCO" and torch.equal(reading.x, DOMAIN.preprocess("CCO"))
    assert read_input(found[3], DOMAIN).text == "O" and found[3] == tmp_path / "b.csv"
    with pytest.raises(ValueError, match=r"a\.smi row 2: 'C1CC' is not SMILES"):
        read_input(found[1], DOMAIN)
    (tmp_path / "d.csv").write_text("smiles\nCC\n")
    with pytest.raises(ValueError, match=r"d\.csv has no column 'molecule'"):
        DOMAIN.read(tmp_path / "d.csv")


def test_the_recipe_is_plain_data_and_checked() -> None:
    assert Domain.from_dict(json.loads(json.dumps(DOMAIN.to_dict()))) == DOMAIN
    assert ".smi" in DOMAIN.endings and ".smi" not in GraphDomain.endings
    with pytest.raises(ValueError, match=r"atoms must be one of element, .* got 'elemental'"):
        GraphDomain(classes=("a", "b"), features=("elemental = C",), nodes=3, edges=3, smiles="smiles")


@pytest.mark.parametrize("missing", ["rdkit", "another"])
def test_without_rdkit_the_command_that_installs_it_is_given(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message had no command where the missing library was asked for by one of its modules."""

    class Missing:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name.startswith("rdkit"):
                raise ModuleNotFoundError(f"No module named '{missing}'", name=missing)

    for name in [name for name in sys.modules if name.partition(".")[0] == "rdkit"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing, *sys.meta_path])
    expected = r"'rdkit', which is not installed: pip install self-interpretable-zoo\[chem\]"
    with pytest.raises(ImportError, match=expected if missing == "rdkit" else "^No module named 'another'$"):
        DOMAIN.preprocess("CCO")
