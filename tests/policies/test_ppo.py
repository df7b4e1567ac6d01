"""The loss of proximal policy optimisation by hand; a policy trains, resumes exactly, and is measured by returns."""

import json
from math import exp, log, pi
from pathlib import Path

import pytest
import torch
import yaml

import zoo
from tests.small_models import IMAGES, ROWS
from zoo.cli.main import main
from zoo.data import Control
from zoo.domain import TableDomain
from zoo.training.ppo import Critic

TORQUE = TableDomain(task="regression", classes=("torque",), features=("a", "b"))
SMALL = {"name": "cartpole", "envs": 4, "steps": 16, "passes": 1, "episodes": 3, "test_episodes": 4, "rows": 20}


def test_terms_by_hand() -> None:
    critic = Critic(ROWS, widths=(3,), clip=0.2, scale=10.0)
    scores = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0]])
    log_p = scores.log_softmax(1)
    batch = {
        "input": torch.randn(2, 3),
        "target": torch.tensor([2, 1]),
        "log_probability": torch.stack([log_p[0, 2] - log(1.5), log_p[1, 1] + log(2)]),  # ratios 1.5 and 0.5
        "advantage": torch.tensor([2.0, -1.0]),
        "value_target": torch.tensor([3.0, 4.0]),
    }
    found = critic.terms(scores, batch)
    # clipped at 1.2 for the good action; for the bad one the minimum is the clipped -0.8
    assert found["policy"].item() == pytest.approx(-(1.2 * 2 - 0.8) / 2)
    value = critic.value(batch["input"])
    assert found["value"].item() == pytest.approx(((value - batch["value_target"]).square().mean() / 200).item())
    assert found["entropy"].item() == pytest.approx((log_p.exp() * log_p).sum(1).mean().item())


def test_values_are_explored_by_a_normal_distribution() -> None:
    critic = Critic(TORQUE)
    with torch.no_grad():
        critic.log_deviation.fill_(log(0.5))
    spread = critic.distribution(torch.tensor([[1.0]]))
    expected = -0.5 * ((1.6 - 1) / 0.5) ** 2 - log(0.5) - 0.5 * log(2 * pi)
    assert critic.log_probability(spread, torch.tensor([[1.6]])).item() == pytest.approx(expected)


def test_plain_rows_are_imitated() -> None:
    critic, scores = Critic(ROWS), torch.tensor([[0.0, 1.0, 2.0]])
    found = critic.terms(scores, {"input": torch.zeros(1, 3), "target": torch.tensor([0])})
    assert found.keys() == {"policy"} and found["policy"].item() == pytest.approx(log(1 + exp(1) + exp(2)))


def config(folder: Path, cls: str, epochs: int, **more: object) -> Path:
    groups = ["backbone", "head", "critic"] if cls == "BlackBoxPolicy" else ["networks", "bias", "critic"]
    recipe = {"stages": [{"name": "train", "epochs": epochs, "train": groups}]}
    content = {
        "model": {"class_path": cls, "init_args": {"recipe": recipe}},
        "data": {"class_path": "Control", "init_args": SMALL | more},
        "trainer": {"enable_progress_bar": False, "accelerator": "cpu"},
    }
    path = folder / f"{cls}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.filterwarnings("ignore")
def test_a_run_ends_with_returns_and_resumes_exactly(tmp_path: Path) -> None:
    """Three epochs at once, and two and one more, leave the same weights: worlds are part of the checkpoint."""
    once = config(tmp_path, "NAMPolicy", 3)
    assert main(["fit", "--config", str(once), "--output", str(tmp_path / "once")]) == 0
    metrics = json.loads((tmp_path / "once" / "metrics.json").read_text())
    assert metrics["episodes"] == 4 and 1 <= metrics["return_low"] <= metrics["return"] <= metrics["return_high"]
    cut = ["fit", "--config", str(once), "--output", str(tmp_path / "cut")]
    assert main([*cut, "--trainer.max_epochs", "2"]) == 0
    assert main([*cut, "--ckpt_path", "last", "--force", "true"]) == 0
    first, second = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("once", "cut"))
    assert first["epoch"] == second["epoch"] == 2
    for name, tensor in first["state_dict"].items():
        assert torch.equal(tensor, second["state_dict"][name]), name
    page, out = tmp_path / "episode.html", tmp_path / "out"
    checkpoint = ["--checkpoint", str(tmp_path / "once" / "checkpoint")]
    assert main(["play", *checkpoint, "--output", str(page)]) == 0 and "push left" in page.read_text()
    twin = config(tmp_path, "BlackBoxPolicy", 1)
    assert main(["fit", "--config", str(twin), "--output", str(tmp_path / "twin")]) == 0
    options = ["--episodes", "4", "--twin", str(tmp_path / "twin"), "--output", str(out)]
    assert main(["evaluate", *checkpoint, *options]) == 0
    report = json.loads((out / "episodes.json").read_text())
    assert report["policy"]["mean"] == pytest.approx(metrics["return"], abs=1e-3)
    assert report["information_loss"] == 0 and report["different"] == 0 and 0 <= report["fidelity"] <= 1


def test_other_data_cannot_be_played(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["play", "--checkpoint", "rrl-xor", "--output", str(tmp_path / "page.html")]) == 2
    assert "play needs a control problem to act in; the data are ConceptToy" in capsys.readouterr().err
    with pytest.raises(ValueError, match="reads observations, rows of named numbers"):
        zoo.create_model("nam_policy", domain=IMAGES)
    assert Control().train_dataloader().batch_size == 256  # a model that is no policy imitates the controller
