"""Loading takes bounded time and memory, runs no code, reads no other file and never reaches the network."""

import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import zoo
from tests.checkpoints.damage import damage
from tests.checkpoints.test_checkpoint import configure
from tests.hostile import Touch, no_network
from tests.small_models import build, of_subwords
from zoo.checkpoints.config_file import CONFIG, WEIGHTS, read_config
from zoo.cli.main import main
from zoo.utils.panics import panics_are_errors

MODELS = (
    "protopnet",
    "c3m",
    "c3m-huggingface",
    "sop-series",
    "senn",
    "dcr",
    "sparse_transformer",
    "bridged_transformer",
)
READ = {"checkpoint_path": "{folder}/README.md"}


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small checkpoints of all families and modalities, by name."""
    place = tmp_path_factory.mktemp("intact")
    models = {
        name: of_subwords("c3m").model if name == "c3m-huggingface" else build(*name.split("-")).model
        for name in MODELS
    }
    return {name: zoo.save(model, place / name) for name, model in models.items()}


def spoiled(intact: Path, folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A copy whose arguments are changed, with right hashes."""
    shutil.copytree(intact, folder)
    arguments = read_config(folder)["arguments"]
    change(arguments)
    configure(folder, arguments=arguments)
    return folder


def refused(folder: Path, message: str) -> None:
    """Loads a checkpoint, which must fail with that message in less than 10 s and 1 GB."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ValueError, match=message) as found:
        zoo.load(folder)
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1e6
    assert str(folder) in str(found.value)


VIT = {"name": "vit_tiny_patch16_224"}
BERT = {"name": "hf", "config": {"model_type": "bert", "max_position_embeddings": 600}}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("protopnet", lambda a: a.update(backbone={**VIT, "depth": 3_000}), "many more layers than the weights"),
        ("protopnet", lambda a: a.update(backbone={"name": "convnet", "widths": [40_000] * 2}), "missing .*unknown"),
        ("protopnet", lambda a: a.update(dim=40_000), r"'.*' is torch.float32 .*; the model of the config needs"),
        ("protopnet", lambda a: a.update(prototypes_per_class=10**9), "prototypes_per_class is 1000000000; at most"),
        ("protopnet", lambda a: a["domain"].update(size=[40_000, 40_000]), r"no 'inputs' of shape \(N, 3, 40000, 4"),
        ("protopnet", lambda a: a.update(thumbnail=40_000), r"picture' is torch.uint8 .*; the model of the config"),
        ("c3m", lambda a: a["domain"].update(length=10**9), r"no 'inputs' of shape \(N, 1000000000\)"),
        ("c3m", lambda a: a["backbone"].update(layers=3_000), "many more layers than the weights"),
        (
            "c3m-huggingface",
            lambda a: a["backbone"]["config"].update(vocab_size=200_000_000),
            "vocab_size is 200000000; at",
        ),
        ("c3m-huggingface", lambda a: a["backbone"]["config"].update(vocab_size=10**6), "needs torch.float32 .1000000"),
        ("c3m-huggingface", lambda a: a["backbone"]["config"].update(num_hidden_layers=3_000), "many more layers than"),
        ("c3m-huggingface", lambda a: a["domain"].update(tokenizer=renumbered(a)), "a piece of number 4,000,000,000"),
    ],
)
def test_sizes_that_would_fill_the_memory(
    intact: dict[str, Path], tmp_path: Path, name: str, change: Callable, message: str
) -> None:
    """Regression: they were allocated before shapes were compared."""
    refused(spoiled(intact[name], tmp_path / "checkpoint", change), message)


def renumbered(arguments: dict[str, Any]) -> str:
    return arguments["domain"]["tokenizer"].replace('"was":17', '"was":4000000000')


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "protopnet",
            lambda a: a.update(backbone={"name": "resnet18", "output_stride": 7}),
            "output_stride.: 7",
        ),
        ("c3m-huggingface", lambda a: a["backbone"]["config"].update(hidden_size="x"), "config is not valid .*hidden"),
        ("c3m-huggingface", lambda a: a["domain"].update(tokenizer="{}"), "tokenizer must be the JSON text"),
        ("dcr", lambda a: a.update(backbone=None), "arguments that dcr does not accept"),
    ],
)
def test_errors_of_libraries_name_the_file(
    intact: dict[str, Path], tmp_path: Path, name: str, change: Callable, message: str
) -> None:
    """Regression: raw AssertionError, PanicException and StrictDataclassFieldValidationError."""
    refused(spoiled(intact[name], tmp_path / "checkpoint", change), message)


def test_a_panic_is_an_error() -> None:
    panic = type("PanicException", (BaseException,), {})
    with pytest.raises(ValueError, match="the library failed: index out of bounds"), panics_are_errors():
        raise panic("index out of bounds")
    with pytest.raises(KeyboardInterrupt), panics_are_errors():
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("protopnet", {"name": "hf-hub:me/net"}),
        ("protopnet", {"name": "hf_hub:me/net"}),
        ("protopnet", {"name": "local-dir:{folder}"}),
        ("protopnet", {"name": "resnet18", "pretrained": True, "pretrained_cfg": {"hf_hub_id": "me/net"}}),
        ("protopnet", {"name": "resnet18", "pretrained_cfg_overlay": {"file": "{folder}/README.md"}}),
        ("protopnet", {"name": "resnet18", **READ}),
        ("c3m", {"name": "hf", "config": {"model_type": "timm_wrapper", "architecture": "hf-hub:me/net"}}),
        (
            "c3m-huggingface",
            {
                "name": "hf",
                "config": {"model_type": "timm_wrapper", "model_args": READ},
            },
        ),
        ("c3m-huggingface", {"name": "hf", "config": {"model_type": "dpt", "use_pretrained_backbone": True}}),
    ],
)
def test_neither_code_nor_network(
    intact: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, backbone: dict
) -> None:
    folder = tmp_path / "checkpoint"
    given = yaml.safe_load(yaml.safe_dump(backbone).replace("{folder}", str(folder)))
    spoiled(intact[name], folder, lambda a: a.update(backbone=given))
    torch.save({"x": Touch(tmp_path / "witness")}, folder / "README.md")
    no_network(monkeypatch)
    refused(folder, "backbone|model_type|does not fit|missing")
    assert not (tmp_path / "witness").exists()


def test_an_empty_picture_is_refused(intact: dict[str, Path], tmp_path: Path) -> None:
    """Regression: pictures of no unit were accepted, and showing the units raised an IndexError."""
    folder = Path(shutil.copytree(intact["protopnet"], tmp_path / "checkpoint"))
    tensors = load_file(folder / WEIGHTS)
    key = next(key for key in tensors if key.endswith("picture"))
    save_file({**tensors, key: tensors[key][:0, :, :0, :0].clone()}, folder / WEIGHTS)
    configure(folder)
    refused(folder, rf"'{key}' is torch.uint8 \(0, 3, 0, 0\); the model of the config needs torch.uint8")


def test_weights_that_are_not_finite(intact: dict[str, Path], tmp_path: Path) -> None:
    """Regression: six models answered "nan %" with exit code 0."""
    model = zoo.load(intact["dcr"])
    name, parameter = next(iter(model.named_parameters()))
    folder = Path(shutil.copytree(intact["dcr"], tmp_path / "checkpoint"))
    tensors = load_file(folder / WEIGHTS)
    tensors[name].view(-1)[0] = torch.nan
    save_file(tensors, folder / WEIGHTS)
    configure(folder)
    refused(folder, rf"{WEIGHTS}: 1 of \d+ values of '{name}' are NaN or infinite")
    with torch.no_grad():
        parameter.view(-1)[0] = torch.inf
    with pytest.raises(ValueError, match=rf"1 of \d+ values of '{name}' are NaN or infinite"):
        zoo.save(model, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ["protopnet", "dcr", "senn"])
def test_a_converted_model_is_refused_when_it_is_saved(
    intact: dict[str, Path], tmp_path: Path, name: str, dtype: torch.dtype
) -> None:
    """Regression: what could not be loaded was written without a word."""
    with pytest.raises(ValueError, match=rf"has {dtype} in '.*', and a checkpoint stores torch.float32; save a copy"):
        zoo.save(zoo.load(intact[name]).to(dtype), tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()
    zoo.save(zoo.load(intact[name]).to(dtype).float(), tmp_path / "checkpoint")


def test_a_compiled_model_is_saved(intact: dict[str, Path], tmp_path: Path) -> None:
    model = zoo.load(intact["dcr"])
    again = zoo.load(zoo.save(torch.compile(model), tmp_path / "checkpoint"))  # pyright: ignore[reportArgumentType]
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in again.state_dict().items())


def test_the_working_folder_and_the_folder_of_a_run(
    intact: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(intact["dcr"], tmp_path / "run" / "checkpoint")
    (tmp_path / "run" / CONFIG).write_text("model: {class_path: DCR}\n")
    assert type(zoo.load(tmp_path / "run")).__name__ == "DCR"
    monkeypatch.chdir(tmp_path / "run" / "checkpoint")
    assert type(zoo.load(".")).__name__ == "DCR"


def test_odd_runs_do_not_stop_the_list(
    intact: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Regression: one of them ended the list of all others."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "odd", "text", "link", "z"):
        shutil.copytree(intact["dcr"], tmp_path / "runs" / name / "checkpoint")
    configure(tmp_path / "runs/odd/checkpoint", metrics={"accuracy": "high"})
    configure(tmp_path / "runs/text/checkpoint", about="a text")
    (tmp_path / "runs/link/checkpoint/README.md").symlink_to(tmp_path / "nothing")
    assert main(["list", "checkpoints"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert all("dcr" in lines[f"runs/{name}/checkpoint"].split()[1:] for name in "az")
    assert all("damaged, see" in lines[f"runs/{name}/checkpoint"] for name in ("odd", "text", "link"))


@pytest.mark.parametrize("mask", [0o077, 0o027])
def test_files_have_the_permissions_of_the_umask(
    intact: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int
) -> None:
    """Regression: under umask 077 a checkpoint was readable by everybody."""
    model, old = zoo.load(intact["dcr"]), os.umask(mask)
    try:
        folder = zoo.save(model, tmp_path / "checkpoint")
    finally:
        os.umask(old)
    assert folder.stat().st_mode & 0o777 == 0o777 & ~mask
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o666 & ~mask}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32))
def test_damage_is_refused_or_harmless(intact: dict[str, Path], tmp_path: Path, seed: int) -> None:
    """The fast part of `python -m tests.checkpoints.fuzz`."""
    folders, folder = list(intact.values()), tmp_path / "checkpoint"
    shutil.rmtree(folder, ignore_errors=True)
    case = damage(folder, folders[seed % len(folders)], seed, folders)
    with pytest.MonkeyPatch.context() as guard:
        no_network(guard)
        try:
            zoo.load(folder)
        except (ValueError, FileNotFoundError) as error:
            assert str(folder) in str(error), case.what
