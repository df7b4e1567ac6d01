"""Training curves from the log of a run."""

from pathlib import Path

import pytest

from zoo.cli.main import main
from zoo.views.training_curves import training_curves, training_figure

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
    losses, accuracies = training_figure(run).axes
    assert [line.get_label() for line in losses.lines] == ["train/loss", "val/loss", "train/loss/task"]
    assert list(accuracies.lines[0].get_ydata()) == [0.2, 0.5] and accuracies.lines[1].get_linestyle() == "--"
    assert main(["curves", "--run", str(run), "--output", str(tmp_path / "deep" / "curves.svg")]) == 0
    assert (tmp_path / "deep" / "curves.svg").stat().st_size > 5000
    assert main(["curves", "--run", str(tmp_path), "--output", str(tmp_path / "a.png")]) == 2
    assert "no log in" in capsys.readouterr().err
    assert main(["curves", "--run", str(run), "--output", str(tmp_path / "a.txt")]) == 2
    assert "must end in .png, .svg, .pdf" in capsys.readouterr().err
