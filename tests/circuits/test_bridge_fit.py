"""A bridged transformer from its config to the benchmark's report."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import zoo
from benchmarks import bridges
from tests.circuits.test_fit import recipe
from zoo.circuits import BridgedTransformer
from zoo.cli.main import main


def fit(tmp: Path, name: str, config: dict[str, Any], *options: str) -> Path:
    path = tmp / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(path), "--output", str(tmp / name), *options]) == 0
    return tmp / name


@pytest.fixture(scope="module")
def runs(code_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    tmp = tmp_path_factory.mktemp("bridge")
    config = recipe(code_cache, density=1.0, activation_density=1.0)
    dense = fit(tmp, "dense", config)
    sizes = {"width": 24, "layers": 1, "head_width": 8, "sparsity": {"density": 0.25, "alive": 1}}
    groups = ["sparse", "encoders", "decoders"]
    stages = [
        {"name": "anneal", "epochs": 1, "train": groups},
        {"name": "sparse", "epochs": 1, "train": groups},
        {"name": "average"},
        {"name": "measure", "epochs": 1, "train": []},
    ]
    config["model"] = {
        "class_path": "BridgedTransformer",
        "init_args": {
            "dense": str(dense / "checkpoint"),
            "sparse": sizes,
            "sites_per_step": 1,
            "recipe": {"stages": stages},
        },
    }
    return dense, fit(tmp, "bridged", config)


def test_the_fit_makes_a_sparse_network_and_does_not_change_the_dense_one(runs: tuple[Path, Path]) -> None:
    dense, run = runs
    model = zoo.load(run / "checkpoint")
    assert isinstance(model, BridgedTransformer) and bool(model.sparse.averaged)
    densities = (model.sparse.density, model.sparse.embedding_density)
    for sparse in model.sparse.sparse_parameters():
        assert int((sparse.weight != 0).sum()) == sparse.budget(densities).keep
    stored = load_file(dense / "checkpoint" / "model.safetensors")
    for name, tensor in model.dense.state_dict().items():
        assert torch.equal(tensor, stored[f"network.{name}"]), name


def test_the_report_has_every_site_and_task(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["bridges", "--run", str(runs[1]), "--pairs", "4", "--random", "2", "--output", str(tmp_path / "B")]
    monkeypatch.setattr("sys.argv", [*given, "--tasks", "for_while"])
    bridges.main()
    record, text = yaml.safe_load((tmp_path / "B.json").read_text()), (tmp_path / "B.md").read_text()
    assert [site["site"] for site in record["sites"]] == ["layer 0 attention", "layer 0 MLP"]
    assert "| layer 0 MLP | " in text and "## Steering: for_while" in text
    steered = record["steering"]["for_while"]
    assert steered["random"][0] == pytest.approx(steered["dense"][0]) and len(steered["dense"]) == 11
