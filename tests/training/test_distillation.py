"""A black box teaches: the loss, its file, what is refused, and what a student's checkpoint and record hold."""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import seed_everything
from safetensors.torch import load_file, save_file

import zoo
from tests import toy
from zoo.cli.main import main
from zoo.domain import ImageDomain, TableDomain
from zoo.networks.base import Features
from zoo.parts import BagNet
from zoo.prototypes import ProtoPNet
from zoo.training.black_box import BlackBox
from zoo.training.black_box_file import FILE, load_network, save_network
from zoo.training.distillation import DistillationTerm, copy_weights, differences
from zoo.training.further_terms import further_terms
from zoo.training.recipe import Recipe
from zoo.training.removal import Removal
from zoo.training.teacher import Teacher

BACKBONE = {"name": "convnet", "widths": [8], "pool": [0]}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a black box."""
    seed_everything(0, verbose=False)
    model = BlackBox(toy.COLOURS, BACKBONE)
    save_network(model, model.arguments, tmp_path)
    return tmp_path


def test_the_file_holds_the_network(run: Path) -> None:
    seed_everything(0, verbose=False)
    model, x = BlackBox(toy.COLOURS, BACKBONE).eval(), torch.randn(2, 3, 12, 12)
    assert torch.equal(load_network(run / FILE)(x), model(x))
    assert not any("metrics" in name for name in load_file(run / FILE))


def test_the_loss_is_the_divergence_of_softened_probabilities(run: Path) -> None:
    term = DistillationTerm(Teacher(str(run), temperature=3.0, weight=0.5), toy.COLOURS)
    x, scores = torch.randn(4, 3, 12, 12), torch.randn(4, 3, requires_grad=True)
    value = term(torch.nn.Identity(), {"input": x}, scores)["distillation"]
    p, q = (term.network(x) / 3).softmax(1).double(), (scores / 3).softmax(1).double()
    assert value.item() == pytest.approx(0.5 * 9 * (p * (p / q).log()).sum(1).mean().item(), rel=1e-5)
    assert not any(parameter.requires_grad for parameter in term.network.parameters())
    same = term(torch.nn.Identity(), {"input": x}, term.network(x))["distillation"]
    assert same.abs() < 1e-6


def test_probabilities_of_a_student_are_not_softened(run: Path) -> None:
    term = DistillationTerm(Teacher(str(run), temperature=3.0, weight=0.5), toy.COLOURS)
    x, scores = torch.randn(4, 3, 12, 12), torch.rand(4, 3).softmax(1)
    value = term(SimpleNamespace(space="probability"), {"input": x}, scores)["distillation"]
    p, q = (term.network(x) / 3).softmax(1).double(), scores.double()
    assert value.item() == pytest.approx(0.5 * (p * (p / q).log()).sum(1).mean().item(), rel=1e-5)
    same = term(SimpleNamespace(space="probability"), {"input": x}, (term.network(x) / 3).softmax(1))["distillation"]
    assert same.abs() < 1e-6


def test_a_teacher_reads_cached_features_of_its_own_backbone(run: Path) -> None:
    """Only of its own: features of other weights, or of other layers, mean nothing to its head."""
    teacher, images = load_network(run / FILE), [{"input": torch.randn(3, 12, 12)}]
    student = ProtoPNet(toy.COLOURS, BACKBONE, prototypes_per_class=2, dim=4)
    cached: Any = SimpleNamespace(caches_features=True, projection_dataset=lambda: images)
    cached.backbone = student.backbone
    trainer: Any = SimpleNamespace(datamodule=cached)
    recipe = Recipe(teacher=Teacher(str(run), weight=3))
    with pytest.raises(ValueError, match=r"features of the model's backbone, and the teacher .* has another one"):
        further_terms(recipe, toy.COLOURS, student, trainer)
    copy_weights(teacher, student)
    (term,) = further_terms(recipe, toy.COLOURS, student, trainer)
    x, scores = torch.randn(2, 3, 12, 12), torch.randn(2, 3)
    features = student.backbone.eval()(x).detach().as_subclass(Features)
    seen, plain = (term(student, {"input": part}, scores)["distillation"] for part in (features, x))
    assert seen.item() == pytest.approx(plain.item(), rel=1e-5)
    cached.backbone = ProtoPNet(toy.COLOURS, {**BACKBONE, "widths": [4]}, prototypes_per_class=2, dim=4).backbone
    with pytest.raises(ValueError, match="has another one"):
        further_terms(recipe, toy.COLOURS, student, trainer)


def test_another_domain_or_a_damaged_file_is_refused(run: Path) -> None:
    other = ImageDomain(classes=("red", "blue"), size=(12, 12), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(ValueError, match=r"does not fit these data: classes: .*'green'.* of the teacher"):
        DistillationTerm(Teacher(str(run)), other)
    larger = ImageDomain(classes=toy.COLOURS.classes, size=(24, 24), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(ValueError, match=r"size: .*12.* of the teacher, .*24.* of the data"):
        DistillationTerm(Teacher(str(run)), larger)
    rows = TableDomain(classes=toy.COLOURS.classes, features=("a",))
    assert (
        differences(toy.COLOURS, rows) == ["it reads images, not table rows"]
        or len(differences(toy.COLOURS, rows)) == 1
    )
    with pytest.raises(FileNotFoundError, match="the teacher nowhere has no black_box"):
        DistillationTerm(Teacher("nowhere"), toy.COLOURS)
    save_file({"head.weight": torch.zeros(2)}, run / FILE)
    with pytest.raises(ValueError, match="not an intact black box"):
        load_network(run / FILE)
    for wrong in ({"temperature": 0.0}, {"weight": -1.0}):
        with pytest.raises(ValueError, match=r"temperature|weight"):
            Teacher(str(run), **wrong)


def test_a_student_trains_without_keeping_its_teacher(run: Path) -> None:
    stages = [{"name": "joint", "epochs": 2, "train": ["backbone", "addon", "prototypes", "head"]}, {"name": "push"}]
    stages.append({"name": "last", "epochs": 1, "train": ["head"]})
    seed_everything(0, verbose=False)
    recipe = {"stages": stages, "teacher": {"run": str(run)}}
    model = ProtoPNet(toy.COLOURS, BACKBONE, prototypes_per_class=2, dim=4, recipe=recipe)
    names = set(model.state_dict())
    trainer = toy.fit(model, toy.ToyData(48))
    assert (
        "train/loss/distillation" in trainer.callback_metrics
        and "val/loss/distillation" not in trainer.callback_metrics
    )
    assert set(model.state_dict()) == names and not model.further


def test_a_student_starts_from_its_teacher(run: Path) -> None:
    teacher = load_network(run / FILE)
    bag = BagNet(toy.COLOURS, trunk=BACKBONE)
    copy_weights(teacher, bag)
    x = torch.randn(4, 3, 12, 12)
    assert torch.allclose(bag.eval()(x), teacher(x), atol=1e-6)  # the black box is a bag of its cells
    options = {"backbone": BACKBONE, "elements": {"patch": 4}, "grouping": {"groups": 4}}
    parts = zoo.create_model("sop", domain=toy.COLOURS, **options)
    prototypes = ProtoPNet(toy.COLOURS, BACKBONE, prototypes_per_class=2, dim=4)
    for student in (parts, prototypes):
        copy_weights(teacher, student)
        assert any(torch.equal(t, next(iter(teacher.parameters()))) for t in student.parameters())
    with pytest.raises(ValueError, match="ProtoPNet has another one"):
        copy_weights(teacher, ProtoPNet(toy.COLOURS, {**BACKBONE, "widths": [4]}, prototypes_per_class=2, dim=4))


def test_the_command_saves_and_records_teachers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mlp = {"name": "mlp", "widths": [4]}
    stages = [{"name": "all", "epochs": 1, "train": ["backbone", "head"]}]
    data = {"class_path": "ConceptToy", "init_args": {"name": "xor", "count": 64, "batch_size": 32}}
    box = {"class_path": "BlackBox", "init_args": {"backbone": mlp, "recipe": {"stages": stages}}}
    stages = [{"name": "all", "epochs": 1, "train": ["backbone", "concepts", "head"]}]
    recipe = {"stages": stages, "teacher": {"run": "runs/box"}}
    student = {"class_path": "CBM", "init_args": {"backbone": mlp, "recipe": recipe}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, model in (("box", box), ("student", student)):
            Path(f"{name}.yaml").write_text(json.dumps({"model": model, "data": data}))
            assert main(["fit", "--config", f"{name}.yaml", "--trainer.accelerator", "cpu"]) == 0
    record = json.loads(Path("runs/student/run.json").read_text())
    assert record["config"]["teacher_sha256"] == Teacher("runs/box").sha256
    assert "teacher_sha256" not in json.loads(Path("runs/box/run.json").read_text())["config"]
    (tmp_path / "runs/box" / FILE).unlink()  # a finished student does not need its teacher
    assert zoo.load("runs/student/checkpoint").recipe.teacher is not None


def test_a_teacher_of_weight_0_only_gives_its_weights(run: Path) -> None:
    student = BlackBox(toy.COLOURS, BACKBONE)
    cached: Any = SimpleNamespace(datamodule=SimpleNamespace(caches_features=True))
    only = Recipe(teacher=Teacher(str(run), weight=0, start=True))
    assert further_terms(only, toy.COLOURS, student, cached) == ()
    assert torch.equal(student.head.weight, load_network(run / FILE).head.weight)
    with pytest.raises(ValueError, match="removal needs inputs, and cache_features keeps features"):
        further_terms(Recipe(removal=Removal()), toy.COLOURS, student, cached)
