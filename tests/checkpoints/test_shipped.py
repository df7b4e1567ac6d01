"""The checkpoints that come with the package: whole, documented, small, and at least one of every model."""

import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from torchvision.io import write_png

import zoo
from benchmarks.train_all import PLAN, up_to_date, wilson
from zoo.checkpoints.config_file import CONFIG, GOLDEN, read_config
from zoo.checkpoints.model_card import require_complete
from zoo.checkpoints.tensor_files import read_tensors
from zoo.checkpoints.verify import verify
from zoo.cli.stories import check_stories
from zoo.core import registry
from zoo.domain import AudioDomain, CodeDomain, Domain, GraphDomain, ImageDomain, SeriesDomain, TableDomain
from zoo.domain.graph_text import IS
from zoo.utils.package_files import PACKAGE

ROOT = PACKAGE.parent / "checkpoints"
NAMES = zoo.list_checkpoints()


def test_every_model_has_one() -> None:
    assert {read_config(ROOT / name)["model"] for name in NAMES} == {e.name for e in registry.entries()}
    assert set(NAMES) == set(yaml.safe_load(PLAN.read_text())["checkpoints"])


def test_they_are_of_their_configs() -> None:
    plan = yaml.safe_load(PLAN.read_text())["checkpoints"]
    assert [name for name in NAMES if not up_to_date(ROOT / name, plan[name])] == []


def test_they_are_beside_their_twins_and_hashed() -> None:
    plan = yaml.safe_load(PLAN.read_text())
    for name in NAMES:
        entry, told = plan["checkpoints"][name], read_config(ROOT / name)
        facts = plan["data"][entry["data"]]
        twin = entry.get("twin", facts.get("twin"))
        assert (told["about"]["twin"] or {}).get("config") == (twin and f"configs/{twin}.yaml"), name
        assert told["about"]["data"] == facts["about"], name
        assert CONFIG in told["sha256"], name


def test_they_are_small() -> None:
    sizes = [file.stat().st_size for file in ROOT.rglob("*") if file.is_file()]
    assert sum(sizes) < 64e6 and max(sizes) < 15e6
    assert {file.suffix for file in ROOT.rglob("*") if file.is_file()} == {".safetensors", ".yaml", ".md"}


def test_they_name_no_folder_of_the_machine_that_trained_them() -> None:
    for path in (ROOT / name for name in NAMES):
        recipe = read_config(path)["arguments"].get("recipe") or {}
        teacher = recipe.get("teacher") or {"run": ""}
        assert "/" not in teacher["run"], path


def test_photographs_that_may_not_be_passed_on_are_not_in_them() -> None:
    for name in (name for name in NAMES if name.endswith("cub50")):
        assert all(unit.picture is None for unit in zoo.load(name).units()), name
        assert read_tensors(ROOT / name / GOLDEN)["inputs"].dtype == torch.uint8


def test_stories_of_circuits_are_true() -> None:
    assert check_stories(ROOT / "sparse-idioms") == 10


@pytest.mark.parametrize("name", NAMES)
def test_loads_and_explains_a_file(name: str, tmp_path: Path) -> None:
    require_complete(read_config(ROOT / name))
    assert verify(ROOT / name) <= 1e-4
    model = zoo.load(name)
    explanation = model.explain_file(some_file(model.domain, tmp_path))
    assert explanation.contributions is None or explanation.check()


def some_file(domain: Domain, folder: Path) -> Path:
    """An input of a domain as a user has it."""
    if isinstance(domain, ImageDomain):
        size = domain.size if domain.restored else (50, 60)
        pixels = torch.randint(256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        write_png(pixels, str(folder / "x.png"))
        return folder / "x.png"
    if isinstance(domain, (TableDomain, SeriesDomain)):
        if isinstance(domain, TableDomain):
            cells = {column.source: column.levels[0] if column.levels else "0.5" for column in domain.layout}
            rows = [",".join(cells), ",".join(cells.values())]
        else:
            rows = [",".join(domain.variables)] + [",".join(["0.5"] * len(domain.variables))] * domain.length
        (folder / "x.csv").write_text("\n".join(rows))
        return folder / "x.csv"
    if isinstance(domain, AudioDomain):
        soundfile = pytest.importorskip("soundfile")
        soundfile.write(folder / "x.wav", [math.sin(i / 5) for i in range(domain.samples)], domain.rate)
        return folder / "x.wav"
    if isinstance(domain, GraphDomain):
        nodes, edges = (
            dict(name.split(IS) if IS in name else (name, 0.5) for name in names)
            for names in (domain.features, domain.edge_features)
        )
        graph = {"nodes": [nodes, nodes], "edges": [[0, 1, edges]], "centre": 0}  # read where a node is asked about
        (folder / "x.json").write_text(json.dumps(graph))
        return folder / "x.json"
    text = "for i in range(3):\n    print(i)\n" if isinstance(domain, CodeDomain) else "a warm and funny film"
    path = folder / ("x.py" if isinstance(domain, CodeDomain) else "x.txt")
    path.write_text(text)
    return path


def test_wilson_by_hand() -> None:
    # 9 of 10: the two roots of (p - 0.9)² = 1.96² p (1 - p) / 10
    low, high = wilson(0.9, 10)
    for root in (low, high):
        assert abs((root - 0.9) ** 2 - 1.96**2 * root * (1 - root) / 10) < 1e-4
    assert low < 0.9 < high <= 1
