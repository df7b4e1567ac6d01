"""Every shipped config is valid, and its model computes finite losses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.small_code import code_domain
from tests.subwords import tiny_bert, wordpiece
from zoo.cli.config import read_config
from zoo.cli.settings import parse
from zoo.data import (
    AnnotatedControl,
    BA2Motifs,
    ConceptToy,
    Control,
    NoisyPicture,
    RuleMolecules,
    SkinConductance,
    SPMotif,
    SyntheticTable,
    TaggedMusic,
    TreeCycles,
)
from zoo.domain import Column, Domain, ImageDomain, SeriesDomain, TableDomain, TextDomain
from zoo.training.stages import check_groups

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").rglob("*.yaml"))


@pytest.mark.filterwarnings("ignore:the groups hold less")  # before the recipe has sharpened them
@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configs_are_right(path: Path, tmp_path: Path) -> None:
    assert len(path.read_text().splitlines()) < 40 and path.read_text().startswith("# ")
    config = read_config(path)
    settings = parse(config, str(path))
    arguments = settings.require("model").values()
    domain = small_domain(arguments, config["data"])
    if wanted := (config["data"].get("init_args") or {}).get("tokenizer"):  # of the hub: a small one in its place
        assert arguments["backbone"]["model"] == wanted
        arguments["backbone"] |= {name: 1 for name in ("tune", "layers") if name in arguments["backbone"]}
        arguments["backbone"]["model"] = str(tiny_bert(tmp_path))
        domain = replace(domain, vocabulary=(), tokenizer=wordpiece())
    cls: Any = settings.require("model").cls
    model = cls(domain=domain, **(arguments if wanted else cls.offline_arguments(arguments)))
    check_groups(model.stages, model.groups(), path.stem)
    concepts = torch.eye(len(domain.concepts))[[0, 0]] if domain.concepts else torch.zeros(2, 0)
    inputs = domain.example(2, torch.Generator().manual_seed(0))
    target = torch.eye(len(domain.classes))[:2] if domain.task == "multilabel" else torch.tensor([0, 1])
    if domain.task == "regression" and len(domain.classes) > 1:
        target = torch.randn(2, len(domain.classes))
    batch = {"input": inputs, "target": target, "concepts": concepts}
    if (config["data"].get("init_args") or {}).get("views") == 2:
        batch["view"] = domain.example(2, torch.Generator().manual_seed(1))
    if (config["data"].get("init_args") or {}).get("pairs"):
        batch["pair"] = domain.example(2, torch.Generator().manual_seed(1))
    terms = model.losses(*model.step(batch["input"]), batch)
    assert all(bool(term.isfinite()) for term in terms.values())


def small_domain(arguments: dict, data: dict) -> Domain:
    """A domain of the modality and kind of concepts that a config's data has, without the data."""
    if data["class_path"] == "ConceptToy":
        return Domain.from_dict(ConceptToy(**data["init_args"]).domain)
    if data["class_path"] in ("AnnotatedControl", "Control"):
        world = {"AnnotatedControl": AnnotatedControl, "Control": Control}[data["class_path"]]
        return world(**data["init_args"]).make_domain()
    if data["class_path"] == "SyntheticTable":
        return Domain.from_dict(SyntheticTable(**data["init_args"]).domain)
    if data["class_path"] in ("NoisyPicture", "SkinConductance"):
        made = {"NoisyPicture": NoisyPicture, "SkinConductance": SkinConductance}[data["class_path"]]
        return made(**data.get("init_args", {})).make_domain()
    worlds = {"BA2Motifs": BA2Motifs, "RuleMolecules": RuleMolecules, "SPMotif": SPMotif, "TreeCycles": TreeCycles}
    if data["class_path"] in worlds:
        return worlds[data["class_path"]]().make_domain()
    if data["class_path"] in ("Adult", "SklearnTable"):
        job = Column(name="job", kind="category", levels=("none", "clerk"), missing=("?",))
        return TableDomain(classes=("low", "high"), columns=(Column(name="age", centre=40, scale=10), job))
    known: dict = {"classes": ("a", "b"), "concepts": ("c", "d", "e"), "concept_groups": {"g": ("c", "d", "e")}}
    if data["class_path"] == "TaggedMusic":
        return TaggedMusic(count=1, val_count=1, test_count=1).make_domain()
    if data["class_path"] in ("SeriesArchive", "PlantedSeries"):
        return SeriesDomain(classes=("a", "b"), variables=tuple("uvwxyz"), length=100)
    if data["class_path"] == "Forecast":  # one value, so that the target above fits
        known = {"classes": ("u 1 step ahead",), "variables": ("u",), "horizon": 1, "task": "regression"}
        return SeriesDomain(**known, length=data["init_args"]["lookback"])
    if data["class_path"] == "CodeData":
        return code_domain(length=9)
    if data["class_path"] in ("CEBaB", "SST2", "EraserMovies"):
        return TextDomain(**known, exclusive=("g",), vocabulary=("good", "bad"), length=9)
    if data["class_path"] == "MNISTAdd":
        return ImageDomain(**known, exclusive=("g",), size=(28, 28), channels=12, mean=(0.5,) * 12, std=(0.5,) * 12)
    fixed = "elements" in arguments or "img_size" in str(arguments.get("backbone"))  # grids that must be real
    side = 64
    if "matcher" in arguments:  # cells enough for pairs, and images enough for the candidates
        known["classes"], side = tuple("abcde"), 96
    side = 224 if data["class_path"] == "CUB" and fixed else side
    return ImageDomain(**known, size=(side, side), channels=3)
