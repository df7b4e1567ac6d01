"""Tables of predictions: columns by task, and parts of several processes joined by item."""

import csv
from pathlib import Path

import pytest
import torch
from lightning import Trainer

import zoo
from zoo.cli.prediction_rows import header, labels_of, rows_of
from zoo.cli.prediction_table import PredictionTable
from zoo.data import Digits
from zoo.domain import TableDomain

VALUES = TableDomain(classes=("height", "weight"), features=("x", "y"), task="regression")


def test_columns_of_values() -> None:
    model = zoo.create_model("senn", domain=VALUES, backbone={"name": "mlp", "widths": [4]}, concepts="elements").eval()
    explanation = model.explain(torch.randn(3, 2))
    assert header(VALUES, 0) == ["item", "label(height)", "label(weight)", "value(height)", "value(weight)"]
    assert header(VALUES, 1)[5:] == ["explained", "unit 1", "contribution 1"]
    for row, cells in zip(explanation, rows_of(explanation, VALUES, 3), strict=True):
        assert [float(cell) for cell in cells[:2]] == pytest.approx(row.scores[0].tolist(), abs=1e-5)
        assert cells[2] == row.target_names[0] and len(cells) == 2 + 1 + 2 * 3
        assert cells[3] == row.top(1)[0][0].unit.name and cells[-2:] == ["", ""]  # it has two units
    assert list(labels_of(torch.tensor([[1.0, 2.0]]), 1, VALUES)) == [["1.000000", "2.000000"]]
    assert list(labels_of(None, 1, VALUES)) == [["", ""]]


def test_rows_of_a_black_box_have_all_probabilities() -> None:
    domain = Digits().make_domain()
    scores = torch.randn(2, 10)
    for cells, row in zip(rows_of(scores, domain, 1), scores, strict=True):
        assert cells[0] == domain.classes[int(row.argmax())] and cells[-2:] == ["", ""]
        assert [float(cell) for cell in cells[2:12]] == pytest.approx(row.softmax(0).tolist(), abs=1e-5)
        assert len(cells) == len(header(domain, 1)) - 2  # item and label stand before them


def test_parts_of_several_processes_are_joined_by_item(tmp_path: Path) -> None:
    table = PredictionTable(tmp_path / "predictions.csv")
    for rank, rows in enumerate(([(0, "a\nb"), (2, "c"), (10, "e")], [(1, "b"), (3, "d"), (0, "a\nb")])):
        with (tmp_path / f".predictions.csv.{rank}").open("w", newline="") as file:
            csv.writer(file).writerows(sorted(rows))
    (tmp_path / "predictions.csv").write_text("old")
    table._join(2, ["item"])
    with (tmp_path / "predictions.csv").open(newline="") as file:
        assert [row for (row,) in csv.reader(file)] == ["item", "a\nb", "b", "c", "d", "e"]
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


def test_a_prediction_that_fails_leaves_the_old_table(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text("old")
    data = Digits()
    small = {"name": "convnet", "widths": [4], "pool": [0]}
    model = zoo.create_model("protopnet", domain=data.domain, backbone=small, prototypes_per_class=1, dim=4)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[PredictionTable(tmp_path / "predictions.csv")],
    )
    with pytest.raises(RuntimeError):  # it was never trained
        trainer.predict(model, datamodule=data, return_predictions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]
    assert (tmp_path / "predictions.csv").read_text() == "old"
