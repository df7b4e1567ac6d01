"""From YAML and the command line to objects: merging, overrides, types."""

from pathlib import Path

import pytest
import yaml
from lightning.pytorch.callbacks import EarlyStopping

from zoo.cli import run_help
from zoo.cli.class_help import class_help
from zoo.cli.classes import data_modules, find_class, models
from zoo.cli.config import merge, read_arguments
from zoo.cli.main import main
from zoo.cli.run_settings import to_dict
from zoo.cli.settings import create_data, read_settings
from zoo.cli.typed import parameters
from zoo.data import ConceptToy, Digits
from zoo.prototypes import ProtoPNet
from zoo.training.recipe import Recipe

CONFIG = {
    "model": {"class_path": "ProtoPNet", "init_args": {"dim": 4, "backbone": {"name": "convnet", "widths": [4]}}},
    "data": {"class_path": "Digits", "init_args": {"batch_size": 32}},
    "trainer": {"max_epochs": 3},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    return path


def settings(file: Path, *overrides: str):
    return read_settings(["--config", str(file), *overrides], "fit")


def test_values_have_the_types_of_the_constructor(file: Path) -> None:
    found = settings(file, "--model.dim=8", "--data.init_args.val_fraction", "2e-1", "--trainer.logger", "false")
    model, data = found.require("model"), found.require("data")
    assert model.cls is ProtoPNet and data.cls is Digits
    assert model.arguments.dim == 8 and data.arguments.val_fraction == 0.2 and found.trainer.arguments.logger is False
    assert data.build().batch_size == 32
    assert found.run.seed_everything == 0 and found.run.output is None


def test_text_that_looks_like_a_number_stays_text(file: Path) -> None:
    assert settings(file, "--output", "8").run.output == "8"
    table = settings(file, "--data=TextTable", "--data.path=2024", "--data.text=1", "--data.label=2").require("data")
    assert (str(table.arguments.path), table.arguments.text, table.arguments.label) == ("2024", "1", "2")


def test_one_field_of_the_recipe(file: Path) -> None:
    made = settings(file, "--model.init_args.recipe.lr", "0.5", "--model.recipe.optimizer=sgd").require("model")
    assert made.values()["recipe"] == Recipe(lr=0.5, optimizer="sgd")


def test_an_element_of_a_mapping(file: Path) -> None:
    made = settings(file, "--model.init_args.backbone.widths", "[8, 8]").require("model")
    assert made.arguments.backbone == {"name": "convnet", "widths": [8, 8]}


def test_another_class_starts_from_its_own_defaults(file: Path) -> None:
    found = settings(file, "--data", "ConceptToy", "--data.name", "xor").require("data")
    assert found.cls is ConceptToy and found.arguments.name == "xor"
    assert merge(CONFIG, {"data": {"class_path": "CUB"}})["data"] == {"class_path": "CUB"}


def test_later_files_take_precedence(file: Path) -> None:
    (file.parent / "more.yaml").write_text("data: {init_args: {batch_size: 16}}\ntrainer: {max_epochs: 5}\n")
    config, names = read_arguments(["--config", str(file), "--config", str(file.parent / "more.yaml")], "fit")
    assert config["data"] == {"class_path": "Digits", "init_args": {"batch_size": 16}}
    assert config["trainer"] == {"max_epochs": 5} and names.endswith("config.yaml, " + str(file.parent / "more.yaml"))


def test_callbacks_are_appended_and_built(file: Path) -> None:
    stop = "{class_path: EarlyStopping, init_args: {monitor: monitor}}"
    (made,) = settings(file, "--trainer.callbacks+", stop).trainer.values()["callbacks"]
    assert isinstance(made, EarlyStopping) and made.monitor == "monitor"


@pytest.mark.parametrize("path", ["Digits", "zoo.data.Digits", "zoo.data.digits.Digits", "zoo.data.real.digits.Digits"])
def test_class_paths_of_earlier_versions(file: Path, path: str) -> None:
    assert settings(file, "--data.class_path", path, "--data.batch_size", "7").require("data").build().batch_size == 7


def test_a_class_of_the_user(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_data.py").write_text("from zoo.data import Digits\n\nclass Own(Digits):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = settings(file, "--data", "own_data.Own", "--data.batch_size", "7").require("data").build()
    assert type(made).__name__ == "Own" and made.batch_size == 7


def test_the_written_config_gives_the_same_settings(file: Path) -> None:
    first = to_dict(settings(file, "--model.recipe.lr", "0.5", "--output", "x"))
    file.write_text(yaml.safe_dump(first))
    assert to_dict(settings(file)) == first and first["output"] == "x" and first["data"]["init_args"]["seed"] == 0


def test_data_alone(file: Path) -> None:
    """A config of an earlier version may have a model that does not exist any more."""
    file.write_text(yaml.safe_dump({**CONFIG, "model": {"class_path": "Gone"}}))
    assert create_data(file, ["--data.batch_size", "9"], "evaluate").batch_size == 9
    with pytest.raises(ValueError, match=r"command line: data.init_args.batch_size must be int; got '8.5'"):
        create_data(file, ["--data.init_args.batch_size", "8.5"], "evaluate")
    with pytest.raises(ValueError, match=r"evaluate has no option '--model\.dim'"):
        create_data(file, ["--model.dim", "9"], "evaluate")
    file.write_text("model: {class_path: CBM}\n")
    with pytest.raises(ValueError, match=r"config.yaml has no data; give a config that has, with --config FILE"):
        create_data(file)


def test_help_lists_the_arguments_of_model_and_data(file: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["fit", "--config", str(file), "--help"]) == 0
    text = capsys.readouterr().out
    assert "--model.prototypes_per_class  (int, default 10)" in text and "--data.batch_size  (int, default 64)" in text
    assert main(["fit", "--model", "protopnet", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--model.recipe  (Recipe | None, default Recipe(stages=(Stage('warm'" in text and "--data" not in text
    assert main(["fit", "--data", "ImageFolder", "--help"]) == 0  # it needs a root, which the help did not forgive
    text = capsys.readouterr().out
    assert "--data.root  (str, required)\n      the folder; paths" in text and "**loading" not in text
    assert "--data.batch_size  (int, default 64)\n      items per batch." in text  # described by the base class
    assert main(["fit", "--model", "ProtPNet", "--help"]) == 2
    assert "did you mean 'ProtoPNet'?" in capsys.readouterr().err


def test_help_is_short_and_about_models_and_data_first(capsys: pytest.CaptureFixture) -> None:
    """It had 579 lines, all about the Trainer."""
    for command in run_help.COMMANDS:
        assert main([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert text.count("\n") <= 60 and text.index("ProtoPNet") < text.index("ImageFolder") < text.index("--patience")
        assert max(map(len, text.splitlines())) <= 100
    assert main(["fit", "--help", "trainer"]) == 0
    assert "--trainer.max_epochs  (Optional[int], default None)" in capsys.readouterr().out


def test_help_knows_every_class() -> None:
    for name, module in {**models(), **data_modules()}.items():
        cls = find_class(name, {name: module}, "here")
        text = class_help(module, name, "data")
        expected = list(parameters(cls))
        found = [line.split()[0].removeprefix("--data.") for line in text.splitlines() if line.startswith("  --")]
        assert sorted(found) == sorted(expected), name


def test_the_printed_config_has_all_defaults(file: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["fit", "--config", str(file), "--print_config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["dim"] == 4
