"""Names of units from data: concepts, regions and columns, on the command line and from Python."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import zoo
from zoo.cli.main import main
from zoo.core.unit_names import read_names
from zoo.data import PartBirds, Table
from zoo.metrics.concepts.unit_names import Reader, name_units

ROOT = Path(__file__).resolve().parents[3]
XOR = ["--checkpoint", "dcr-xor", "--config", str(ROOT / "configs" / "concepts" / "dcr_xor.yaml")]


def test_concepts_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its units are predicted concepts, so each is named by the concept that it predicts."""
    file = tmp_path / "names.json"
    assert main(["name", *XOR, "--output", str(file), "--limit", "300", "--share", "0.5", "--device", "cpu"]) == 0
    found = read_names(file)
    assert "units have a name better than" in capsys.readouterr().out
    assert found.about["source"] == "concepts" and found.about["inputs"]["search"] == 300
    assert all(
        one.held_out > 0.9 and one.shuffled < 0.6 and one.credible for one in found.names if one.unit == one.formula
    )
    assert any(one.unit == one.formula for one in found.names)
    (tmp_path / "row.csv").write_text(",".join(zoo.load("dcr-xor").domain.features) + "\n0.5,0.7\n")
    explain = ["explain", "--input", str(tmp_path / "row.csv"), "--output", str(tmp_path / "out")]
    assert main([*explain, *XOR[:2], "--names", str(file)]) == 0
    line = json.loads((tmp_path / "out" / "explanations.jsonl").read_text())
    named = {one.unit if one.unit == one.formula else f"{one.formula} ({one.unit})" for one in found.names}
    assert named & {one["unit"] for one in line["evidence"]}
    page = next((tmp_path / "out").glob("*.html")).read_text()
    assert "named by attributes: IoU" in page
    assert main(["show", *XOR[:2], "--names", str(file), "--output", str(tmp_path / "units.html")]) == 0
    assert any(name in (tmp_path / "units.html").read_text() for name in named)
    capsys.readouterr()
    assert main([*explain, "--checkpoint", "bagnet-mnist", "--names", str(file)]) == 2
    assert "names of another checkpoint" in capsys.readouterr().err
    assert main([*explain, *XOR[:2], "--names", str(file), "--record"]) == 2
    assert "it takes no --names" in capsys.readouterr().err
    assert main(["name", *XOR, "--by", "regions"]) == 2
    assert "no attributes of kind 'regions'; they have concepts" in capsys.readouterr().err


def test_columns_of_a_table(tmp_path: Path) -> None:
    lines = [
        f"{i % 40},{('own', 'rent', '')[i % 3]},{'' if i % 10 == 0 else i},{'no' if i * 7 % 13 < 6 else 'yes'}"
        for i in range(200)
    ]
    (tmp_path / "table.csv").write_text("\n".join(["age,home,income,label", *lines]))
    data = Table(str(tmp_path / "table.csv"))
    data.prepare_data()
    model = zoo.create_model("nam", domain=data.domain, hidden=[4])
    reader = Reader(model, data, "columns")
    assert reader.names[:2] == ["age low", "age high"] and "home = rent" in reader.names
    assert "income missing" in reader.names
    train = data.projection_dataset()
    rows = [train[i]["input"] for i in range(len(train))]
    known = reader._columns(torch.stack(rows))
    assert known.shape == (len(rows), len(reader.names))
    cells = [data.make_domain().cells(row) for row in rows]
    for name, truth in (
        ("home = rent", [one["home"] == "rent" for one in cells]),
        ("age high", [float(one["age"]) >= 30 for one in cells]),
    ):
        agree = (known[:, reader.names.index(name)] == torch.tensor(truth)).float().mean()
        assert agree > 0.9, name  # quarters of the rows are not those of the numbers
    missing = known[:, reader.names.index("income missing")]
    assert 0.05 < float(missing.float().mean()) < 0.15
    low, high = (known[:, reader.names.index(f"income {end}")] for end in ("low", "high"))
    assert not (missing & (low | high)).any()
    found = name_units(model, data, length=2, limit=100, shuffles=1)
    assert found.about["source"] == "columns" and len(found.names) == len(model.units())


def test_regions_are_compared_where_units_fire() -> None:
    """One unit fires at the beak and one at the tail; concepts of a part stand where the part is."""
    data = PartBirds(side=32, count=12, val_count=4, test_count=4)
    data.prepare_data()
    reader = Reader(SimpleNamespace(), data, "regions")  # pyright: ignore[reportArgumentType]
    items = data.val_dataset()
    batch = {key: torch.stack([items[i][key] for i in range(4)]) for key in ("regions", "concepts")}
    support = torch.nn.functional.adaptive_max_pool2d(batch["regions"].float(), 8)[:, [0, 3]]
    cells, known = reader._places(torch.tensor([[1.0, 2.0]]).expand(4, -1), support, batch)
    assert cells.shape == (4 * 64, 2) and known.shape == (4 * 64, len(reader.names))
    assert torch.equal(cells[:, 0] > 0, known[:, reader.names.index("beak")] > 0.5)
    assert torch.equal(cells[:, 1], 2 * known[:, reader.names.index("tail")].float())
    kinds = [i for i, name in enumerate(reader.names) if name.startswith("tail ")]
    assert torch.equal(known[:, kinds].any(1), known[:, reader.names.index("tail")] > 0.5)
    with pytest.raises(ValueError, match="have no place in images"):
        reader._places(torch.ones(4, 2), None, batch)


def test_what_cannot_be_named() -> None:
    data = zoo.data.Digits()
    with pytest.raises(ValueError, match="no attributes to name units by"):
        name_units(zoo.create_model("bagnet", domain=data.domain, widths=[8], depths=[1], strides=[1], wide=1), data)
    with pytest.raises(ValueError, match="share must be above 0"):
        name_units(None, data, share=0.9)  # pyright: ignore[reportArgumentType]
