"""SparseCode: each head by hand, the black box's scores, recipes, metrics, pictures and names of atoms."""

from pathlib import Path

import pytest
import torch
from lightning import seed_everything
from torch.nn import functional as F

from tests import toy
from tests.small_models import IMAGES, ROWS, RandomImages, sparse_code
from zoo.concepts import SparseCode
from zoo.concepts.layers.atom_names import AtomNames
from zoo.concepts.layers.gallery import seen
from zoo.networks.receptive_field import ReceptiveField
from zoo.training.black_box import BlackBox
from zoo.training.black_box_file import FILE, load_network, save_network

X = RandomImages(5, seed=1).inputs
BACKBONE = {"name": "convnet", "widths": [8, 8], "strided": [2, 1]}
CODE = {"atoms": 12, "active": 3}


@pytest.mark.parametrize("head", ["replacing", "explaining", "sparse"])
def test_heads_by_hand(head: str) -> None:
    model = sparse_code(head=head, code={"kind": "topk", "atoms": 6, "active": 2}).model
    with torch.no_grad():
        f = model.backbone(X).flatten(2).mT  # (B, P, d)
        atoms = F.normalize(model.code.weight, dim=1)
        x = (f - model.code.mean) / model.code.scale - model.code.offset
        scores = F.linear(x, model.code.encoder.weight, model.code.encoder.bias)
        second = scores.topk(2, 2).values[..., 1:]
        codes = model.code.scale * scores.relu() * (scores >= second)  # (B, P, m)
        rebuilt = codes @ atoms + model.code.mean + model.code.scale * model.code.offset
        w, a = model.head.weight, model.head.bias
        read = {"replacing": rebuilt, "explaining": f, "sparse": codes}[head]
        expected = read.mean(1) @ w.T + a
    explanation = model.explain(X, reference="zero").check()
    torch.testing.assert_close(explanation.scores, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(explanation.activation[:, :6], codes.mean(1), rtol=1e-4, atol=1e-5)
    per_cell = codes if head == "sparse" else codes * (atoms @ w[explanation.target].T).T[:, None]
    if head != "sparse":  # the contribution of an atom at a cell, exactly
        share = explanation.support[:, :6].flatten(2) / explanation.support[:, :6].flatten(2).sum(
            2, keepdim=True
        ).clamp_min(1e-12)
        spread = (explanation.contributions[:, :6, None] * share).mT
        torch.testing.assert_close(spread, per_cell / f.shape[1], rtol=1e-4, atol=1e-5)
    if head == "explaining":
        assert explanation.units[-1].name == "residual" and explanation.units[-1].kind == "residual"
        missed = ((f - rebuilt).mean(1) * w[explanation.target]).sum(1)
        torch.testing.assert_close(explanation.contributions[:, -1], missed, rtol=1e-4, atol=1e-5)
        assert all("of the lead over the runner-up of" in text for text in explanation.statements)
    else:
        assert not explanation.statements


def test_explaining_has_the_scores_of_the_black_box_it_starts_from(tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    box = BlackBox(
        toy.COLOURS, BACKBONE, recipe={"stages": [{"name": "a", "epochs": 6, "train": ["backbone", "head"]}]}
    )
    data = toy.ToyData()
    toy.fit(box, data)
    save_network(box, box.arguments, tmp_path)
    recipe = {
        "stages": [
            {"name": "centre"},
            {"name": "code", "epochs": 8, "train": ["code"], "lr": {"code": 0.01}},
            {"name": "gallery"},
            {"name": "measure", "epochs": 1, "train": []},
        ],
        "teacher": {"run": str(tmp_path), "start": True, "weight": 0},
    }
    options = {"code": {"kind": "batch_topk", **CODE}, "gallery_size": 2, "thumbnail": 6, "recipe": recipe}
    model = SparseCode(toy.COLOURS, BACKBONE, **options)
    trainer = toy.fit(model, data)
    trainer.test(model, datamodule=data, verbose=False)
    found = {name.removeprefix("test/"): float(value) for name, value in trainer.callback_metrics.items()}
    x = data.val.inputs
    with torch.no_grad():
        codes = model.eval().step(x)[1].activation
    assert found["agreement"] > 0.9 and found["features_r2"] > 0.8 and model.code.get_buffer("threshold") > 0
    assert found["dead"] == pytest.approx(float((codes == 0).all(0).float().mean()))
    assert found["active_total"] == pytest.approx(float((codes > 0).sum(1).float().mean()), rel=1e-4)
    assert all(unit.picture is not None or "dead" in unit.source for unit in model.units())
    explaining = SparseCode(toy.COLOURS, BACKBONE, head="explaining", **options).eval()
    explaining.load_state_dict(model.state_dict(), strict=False)
    assert (explaining(x) - load_network(tmp_path / FILE)(x)).abs().max() < 1e-5
    explanation = explaining.explain(x).check()
    assert 0 < explanation.contributions[:, -1].abs().sum() / explanation.contributions.abs().sum() < 0.2


def test_without_a_black_box_the_head_learns_first_and_is_then_held() -> None:
    names = {head: [stage.name for stage in sparse_code(head=head).model.stages] for head in ("replacing", "sparse")}
    assert names["replacing"] == ["head", "centre", "code", "gallery", "measure"]
    assert names["sparse"] == ["centre", "code", "sparsify", "gallery", "measure"]
    taught = {"teacher": {"run": "runs/a", "start": True, "weight": 0}}
    assert sparse_code(recipe=taught).model.stages[0].name == "centre"
    stages = [
        {"name": "head", "epochs": 1, "train": ["head"]},
        {"name": "centre"},
        {"name": "code", "epochs": 1, "train": ["code"]},
    ]
    model = SparseCode(toy.COLOURS, BACKBONE, CODE, recipe={"stages": stages})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen_terms: list[set[str]] = []
    model.losses, losses = lambda *given: seen_terms.append(set(losses(*given))) or losses(*given), model.losses
    toy.fit(model, toy.ToyData())
    after = model.state_dict()
    changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"head", "code"}
    assert {"task"} in seen_terms and {"reconstruction", "auxiliary"} in seen_terms


def test_sparse_head_has_so_many_weights_a_class() -> None:
    stages = [{"name": "sparsify", "per_class": 2}, {"name": "measure", "epochs": 1, "train": []}]
    model = sparse_code(head="sparse", recipe={"stages": stages}).model
    assert bool(((model.head.weight != 0).sum(1) <= 2).all())


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"name": "a", "epochs": 1, "train": ["backbone"]}], "codes a frozen backbone, but stage 'a' trains it"),
        ([{"name": "a", "epochs": 1, "train": ["code"]}], "before its features are centred; add {name: centre}"),
        ([{"name": "a", "epochs": 1, "train": ["head"]}], "no stage trains the code"),
        ([{"name": "centre"}, {"name": "a", "epochs": 1, "train": ["code"]}], "no stage trains the head"),
    ],
)
def test_recipes_that_lack_something_are_refused(stages: list, message: str) -> None:
    model = SparseCode(toy.COLOURS, BACKBONE, CODE, recipe={"stages": stages})
    with pytest.raises(ValueError, match=message):
        model.check_recipe()


def test_atoms_are_named_by_the_concept_that_they_rank_best() -> None:
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0], [torch.nan, 0.0]])
    activation = torch.tensor([[3.0, 1.0, 0.0], [2.0, 5.0, 0.0], [1.0, 2.0, 0.0], [0.0, 4.0, 0.0], [9.0, 0.0, 0.0]])
    names = AtomNames(3)
    names.fit(activation, labels, 0.9)
    assert names.names(("red", "round")) == ["atom 1 (red)", "atom 2 (round)", "atom 3"]
    torch.testing.assert_close(names.auc, torch.tensor([1.0, 1.0, 0.5]))


def test_pictures_are_what_the_strongest_cell_sees() -> None:
    pictures = torch.arange(100, dtype=torch.uint8).view(1, 1, 10, 10)
    heat = torch.zeros(1, 5, 5).index_put((torch.tensor(0), torch.tensor(2), torch.tensor(1)), torch.tensor(1.0))
    found = seen(pictures, heat, ReceptiveField(size=3, jump=2, start=-1))
    assert torch.equal(found[0, 0], pictures[0, 0, 3:6, 1:4])
    corner = torch.zeros(1, 5, 5).index_put((torch.tensor(0), torch.tensor(0), torch.tensor(4)), torch.tensor(1.0))
    assert torch.equal(seen(pictures, corner, ReceptiveField(3, 2, -1))[0, 0], pictures[0, 0, 0:3, 7:10])


def test_a_sparse_head_classifies_and_heads_have_names() -> None:
    with pytest.raises(ValueError, match="head must be one of replacing, explaining, sparse; got 'both'"):
        SparseCode(IMAGES, BACKBONE, CODE, "both")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="code has no option 'atom'; did you mean 'atoms'"):
        SparseCode(ROWS, "identity", {"atom": 3})  # pyright: ignore[reportArgumentType]


def test_pairs_by_hand() -> None:
    model = sparse_code(code={"atoms": 6, "active": 3, "common": 0.34}).model.eval()
    x = X.clone()
    pair = torch.cat([x[1:3], x[2:]])  # the others have no partner
    batch = {"input": x, "target": torch.zeros(5, dtype=torch.long), "pair": pair}
    scores, evidence = model.step(x)
    found = model.losses(scores, evidence, batch)["contrast"]
    with torch.no_grad():
        z, w = (model.evidence(t).activation / model.code.scale for t in (x, pair))
    each = [(z[i, :2] - w[i, :2]).abs().sum() + (z[i, 2:] * w[i, 2:]).abs().sum() for i in range(2)]
    torch.testing.assert_close(found, (each[0] + each[1]) / 2, rtol=1e-4, atol=1e-6)
    assert found > 0
    words = [unit.source["of pairs"] for unit in model.units()]
    assert words == ["what both have in common"] * 2 + ["what differs"] * 4
    none = model.losses(scores, evidence, {**batch, "pair": x})["contrast"]
    assert none == 0
    model.train()
    with pytest.raises(ValueError, match=r"no 'pair' .*CEBaB with pairs: true"):
        model.losses(scores, evidence, {"input": x, "target": batch["target"]})
