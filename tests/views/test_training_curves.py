"""Training curves from the log of a run."""

from pathlib import Path

import pytest

from zoo.cli.curves import coefficients_of
from zoo.cli.main import main
from zoo.views.training_curves import panels_of, training_curves, training_figure

HEADER = "epoch,step,test/accuracy,train/accuracy,train/loss,train/loss/task,val/accuracy,val/loss\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that was continued: the second log repeats epoch 1."""
    for version, text in enumerate(
        ("0,9,,0.2,3.0,2.5,,\n0,9,,,,,0.3,2.8\n1,19,,0.4,2.0,1.5,,\n", "1,19,,0.5,1.9,1.4,,\n")
    ):
        folder = tmp_path / "run" / "logs" / f"version_{version}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(HEADER + text)
    return tmp_path / "run"


def test_curves(run: Path) -> None:
    assert training_curves(run) == {
        "train/accuracy": [(0, 0.2), (1, 0.5)],
        "train/loss": [(0, 3.0), (1, 1.9)],
        "train/loss/task": [(0, 2.5), (1, 1.4)],
        "val/accuracy": [(0, 0.3)],
        "val/loss": [(0, 2.8)],
    }


def test_figure(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("matplotlib")
    loss, terms, metrics = training_figure(run).axes
    assert [line.get_label() for line in loss.lines] == ["train/loss", "val/loss"] and terms.get_title() == "task"
    assert list(metrics.lines[0].get_ydata()) == [0.2, 0.5] and metrics.lines[1].get_linestyle() == "--"
    assert main(["curves", "--run", str(run), "--output", str(tmp_path / "deep" / "curves.svg")]) == 0
    assert (tmp_path / "deep" / "curves.svg").stat().st_size > 5000
    assert main(["curves", "--run", str(tmp_path), "--output", str(tmp_path / "a.png")]) == 2
    assert "no log in" in capsys.readouterr().err
    assert main(["curves", "--run", str(run), "--output", str(tmp_path / "a.txt")]) == 2
    assert "must end in .png, .svg, .pdf" in capsys.readouterr().err


def test_terms_are_weighted_and_scales_have_panels() -> None:
    """An unweighted l1 of 330 flattened all other terms."""
    curves = {
        "train/loss": [(0, 1.3)],
        "train/loss/cross_entropy": [(0, 1.0), (1, 0.5)],
        "val/loss/cross_entropy": [(0, 1.1)],
        "train/loss/l1": [(0, 330.0)],
        "train/loss/off": [(0, 5.0)],
        "train/loss/large": [(0, 70.0)],
        "val/accuracy": [(0, 0.5)],
        "val/sparsity": [(0, 4000.0)],
    }
    found = panels_of(curves, {"l1": 1e-3, "off": 0.0, "large": 1.0})
    assert [(title, list(panel)) for title, panel in found] == [
        ("loss", ["train/loss"]),
        ("large", ["train large"]),
        ("loss terms, weighted", ["train cross_entropy", "val cross_entropy", "train 0.001 × l1"]),
        ("sparsity", ["val sparsity"]),
        ("accuracy", ["val accuracy"]),
    ]
    assert found[2][1]["train 0.001 × l1"] == [(0, 0.33)]


def test_coefficients_are_those_of_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "model: {class_path: CBM, init_args: {recipe: {coefficients: {concepts: 3}}}}"
    )
    assert coefficients_of(tmp_path) == {"task": 1.0, "concepts": 3} and coefficients_of(tmp_path / "none") == {}
