"""Tables of molecules: from SMILES to a prediction for SMILES, and errors that name the rows."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import zoo
from zoo.cli.main import main
from zoo.data import SmilesTable
from zoo.graphs.gnan import GNAN
from zoo.views.html import page
from zoo.views.molecule import atom_places

pytest.importorskip("rdkit")
ALCOHOLS = ["CO", "CCO", "CC(C)O", "OCC=O", "OCCCl", "c1ccccc1CO", "C1CCCCC1O", "OCC#C", "NCCO", "CC(O)CC"]
OTHERS = ["CC", "CCC", "CC(C)C", "CC=O", "CCCl", "c1ccccc1C", "C1CCCCC1C", "CC#C", "NCC", "CC(N)CC"]


def table(path: Path, more: str = "") -> str:
    rows = [f"{s},alcohol,{len(s)}" for s in ALCOHOLS] + [f"{s},other,{len(s)}" for s in OTHERS]
    path.write_text("\n".join(["smiles,label,length", *rows]) + "\n" + more)
    return str(path)


def test_a_saved_model_explains_raw_smiles(tmp_path: Path) -> None:
    data = SmilesTable(table(tmp_path / "t.csv"), atoms=["element", "hydrogens"])
    domain = data.make_domain()
    assert domain.smiles == "smiles" and domain.classes == ("alcohol", "other") and domain.task == "classification"
    assert domain.features == ("element = C", "element = Cl", "element = N", "element = O", "hydrogens")
    assert domain.edge_features == tuple(f"bond = {b}" for b in ("aromatic", "double", "single", "triple"))
    assert (domain.nodes, domain.edges, len(data.items("test", False))) == (8, 8, 4)
    torch.manual_seed(0)
    model = GNAN(domain, hidden=4, furthest=2).eval()
    zoo.save(model, tmp_path / "checkpoint", golden=domain.preprocess("CCO")[None])
    (tmp_path / "new.smi").write_text("CCO\nCCx\nC=CC\n")
    given = ["--input", "OCC=C", str(tmp_path / "new.smi")]
    assert (
        main(["explain", "--checkpoint", str(tmp_path / "checkpoint"), *given, "--output", str(tmp_path / "out")]) == 1
    )
    written = sorted(path.name for path in (tmp_path / "out").glob("*.html"))
    assert written == ["index.html", "new-row-1.html", "new-row-3.html", "text.html"]
    told = zoo.load(tmp_path / "checkpoint").explain(domain.preprocess("OCC=C")[None])
    torch.testing.assert_close(told.scores, model(domain.preprocess("OCC=C")[None]))


def test_the_page_draws_the_molecule_with_its_bonds(tmp_path: Path) -> None:
    domain = SmilesTable(table(tmp_path / "t.csv")).make_domain()
    text = "OCC#CC=O"
    model = GNAN(domain, hidden=4, furthest=2).eval()
    one = replace(model.explain(domain.preprocess(text)[None]), texts=(text,))[0]
    html = page(one, [text])
    assert [html.count(f"<title>{bond}: 1.00</title></line>") for bond in ("O0 – C1", "C2 – C3", "C4 – O5")] == [
        1,
        3,
        2,
    ]
    places = atom_places(domain, text, 400)
    assert places is not None and places.shape == (6, 2) and places.min() >= 0 and places.max() <= 400
    lengths = ((places[1:] - places[:-1]) ** 2).sum(1) ** 0.5  # bonds of a chain, as long as each other
    assert max(lengths) < 1.1 * min(lengths)


def test_all_invalid_rows_are_named_or_left_out(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "CCx,other,3\nCO(C)C,alcohol,6\n")
    with pytest.raises(ValueError, match=r"2 of 22 rows .* line 22: 'CCx' is not SMILES.* line 23: 'CO\(C\)C' is not"):
        SmilesTable(path).make_domain()
    with pytest.warns(UserWarning, match="2 of 22 rows have no valid SMILES and are left out"):
        splits = SmilesTable(path, skip_invalid=True).read()
    assert sum(len(part.graphs) for part in splits.values()) == 20


def test_a_long_row_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    """Regression: a molecule of 45,000 characters was parsed, for minutes."""
    path = table(tmp_path / "t.csv", f"{'C1CC1' * 9000},other,3\n")
    start = time.process_time()
    with pytest.raises(ValueError, match=r"1 of 21 rows .* line 22: a SMILES of 45,000 characters .* at most 10,000"):
        SmilesTable(path).make_domain()
    with pytest.warns(UserWarning, match="1 of 21 rows have no valid SMILES and are left out"):
        assert sum(len(part.graphs) for part in SmilesTable(path, skip_invalid=True).read().values()) == 20
    assert time.process_time() - start < 5


def test_values_to_predict(tmp_path: Path) -> None:
    data = SmilesTable(table(tmp_path / "t.csv"), label="length", task="regression")
    assert data.make_domain().classes == ("length",) and data.items("train", True).targets.shape[1:] == (1,)
    with pytest.raises(ValueError, match="line 2: 'label' must be a finite number; got 'alcohol'"):
        SmilesTable(table(tmp_path / "t.csv"), task="regression").make_domain()
    with pytest.raises(ValueError, match=r"bonds must be one of bond, .* got 'order'"):
        SmilesTable(table(tmp_path / "t.csv"), bonds=["order"])
