"""`train.py explain` for prompts of code."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import zoo
from tests.small_code import code_domain
from zoo.cli.main import main


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = zoo.create_model(
        "sparse_transformer", domain=code_domain(20, 400), width=16, layers=1, head_width=8, sparsity={"density": 0.5}
    )
    return zoo.save(model.eval(), tmp_path_factory.mktemp("code") / "checkpoint")


def explain(checkpoint: Path, output: Path, *inputs: str) -> int:
    return main(["explain", "--checkpoint", str(checkpoint), "--output", str(output), "--input", *inputs])


def test_a_prompt_on_the_command_line_may_have_lines(checkpoint: Path, tmp_path: Path) -> None:
    assert explain(checkpoint, tmp_path, "for item in value:\n", "x.y") == 0
    page = (tmp_path / "text.html").read_text()
    assert "<mark>:<i>⏎</i>\n</mark>" in page
    record = json.loads((tmp_path / "text.json").read_text())
    assert record["input"] == "for item in value:\n"
    assert (tmp_path / "text-2.html").is_file()


def test_files_and_folders_of_code(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "a.py").write_text("if x")
    (folder / "b.txt").write_text("while x")
    (folder / "c.md").write_text("none")
    (folder / "long.py").write_text("x = 1\n" * 40)
    assert explain(checkpoint, tmp_path / "out", str(folder)) == 1
    assert "long.py: the prompt has" in capsys.readouterr().err
    assert {p.stem for p in (tmp_path / "out").iterdir()} == {"a", "b", "explanations", "index"}
    assert explain(checkpoint, tmp_path / "out", str(folder / "c.md")) == 2
    assert "c.md looks like a file; prompts are read from .py, .txt files, or given in quotes" in (
        capsys.readouterr().err
    )


def test_intervene_writes_a_table(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = ["intervene", "--checkpoint", str(checkpoint), "--task", "single_double_quote", "--pairs", "4"]
    command += ["--output", str(tmp_path)]
    assert main([*command, "--top", "2"]) == 0
    assert "flipped    loss  accuracy  intervention" in capsys.readouterr().out
    record = json.loads((tmp_path / "single_double_quote-intervene.json").read_text())
    assert len(record["interventions"]) == 2 and record["within"] == "network"
    assert record["pairs"] + record["left_out"] == 4
    names = [name for row in record["interventions"] for name in row["targets"]]
    assert main([*command, "--swap", *names]) == 0
    assert json.loads((tmp_path / "single_double_quote-intervene.json").read_text()) == record
    assert main([*command, "--zero", "layer 0 head 1", "--scale", "channel 3=0.5"]) == 0
    assert "scale channel 3=0.5" in capsys.readouterr().out
    assert main([*command, "--swap", "layer 7 attn_q 0"]) == 2
    assert "there is no 'layer 7 attn_q 0'; layers are 0 to 0" in capsys.readouterr().err
    assert main([*command, "--add", "channel 3"]) == 2
    assert "--add expects 'PLACE=NUMBER', as 'channel 3=2.5'; got 'channel 3'" in capsys.readouterr().err


def test_stories_are_checked_again(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint, folder)
    path = folder / "circuits" / "for_while.yaml"
    path.parent.mkdir()
    story = "task: for_while\npairs: 4\nexperiments:\n- says: Nothing.\n  scale: {channel 3: 1}\n  within: network\n"
    path.write_text(story + "  expect: {flipped: 0}\n")
    assert main(["check", str(folder)]) == 0
    assert "1 experiments on circuits as expected" in capsys.readouterr().out
    run = ["intervene", "--checkpoint", str(folder), "--story", str(path), "--output", str(tmp_path)]
    assert main(run) == 0
    assert json.loads((tmp_path / "for_while-story.json").read_text())["experiments"][0]["passed"]
    path.write_text(story + "  expect: {flipped: 1}\n")
    assert main(["check", str(folder)]) == 1 and main(run) == 1
    assert "expects other effects than it has" in capsys.readouterr().err
    assert main([*run, "--task", "for_while"]) == 2 and main(run[:3]) == 2


def test_prune_drops_no_control_silently(checkpoint: Path, capsys: pytest.CaptureFixture) -> None:
    """Without the config of the run, the controls that need data were skipped."""
    assert main(["prune", "--checkpoint", str(checkpoint), "--task", "for_while"]) == 2
    message = capsys.readouterr().err
    assert "give a config with --config FILE" in message and "skip all controls with --no-controls" in message
