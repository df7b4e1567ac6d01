"""ProtoTree: its scores against a walk through the tree, and what pruning and push promise."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer

import zoo
from tests.small_models import IMAGES, RandomImages, Small
from tests.small_models import prototree as pruned
from tests.toy import COLOURS, ToyData, fit
from zoo.prototypes import ProtoTree
from zoo.training.modes import evaluating
from zoo.training.projection_set import ProjectionSet

TINY = {"name": "convnet", "widths": [4], "pool": [0]}


def prototree(**options: Any) -> Small:
    """A small model of which nothing was cut off."""
    return pruned(tau=0.0, **options)


def test_scores_are_those_of_a_walk_through_the_tree() -> None:
    small = prototree()
    model = small.model
    with torch.no_grad():
        z = model.embed(small.inputs).flatten(2).double()  # (B, D, cells)
        vectors, leaves = model.prototypes.vectors.double(), model.tree.leaves.double()
        scores = model(small.inputs)

    def score(row: int, node: int) -> torch.Tensor:
        if node >= model.tree.nodes:
            return leaves[node - model.tree.nodes].softmax(0)
        distances = (z[row] - vectors[node][:, None]).square().sum(0).sqrt()
        presence = math.exp(-distances.min().item())
        return (1 - presence) * score(row, 2 * node + 1) + presence * score(row, 2 * node + 2)

    for row in range(len(scores)):
        torch.testing.assert_close(scores[row].double(), score(row, 0), rtol=1e-4, atol=1e-5)


def test_the_loss_is_the_negative_logarithm_of_the_score_of_the_label() -> None:
    small = prototree()
    target = torch.tensor([0, 1, 2, 0, 1])
    with torch.no_grad():
        scores, evidence = small.model.step(small.inputs)
        terms = small.model.losses(scores, evidence, {"input": small.inputs, "target": target})
    expected = -sum(math.log(scores[i, t]) for i, t in enumerate(target.tolist())) / 5
    assert terms["log_likelihood"].item() == pytest.approx(expected, rel=1e-5)


def test_pruning_what_nothing_reaches_keeps_predictions() -> None:
    model, x = prototree().model, prototree().inputs
    model.tree.leaves[4:] = 0  # the right side of the root is uniform, and nothing looks like its prototype
    with torch.no_grad():
        model.prototypes.vectors[0] = 1e3
    before = model(x)
    model.tau = 0.34
    model.prune(ProjectionSet(RandomImages()))
    torch.testing.assert_close(model(x), before)
    assert not model.prototypes.alive[0] and not model.prototypes.alive[2]
    assert [bool(unit.source.get("pruned")) for unit in model.units()] == (~model.prototypes.alive).tolist()


@pytest.mark.parametrize("routing", ["greedy", "max_path"])
def test_one_path_of_at_most_h_prototypes_is_the_computation(routing: str) -> None:
    small = prototree()
    soft, hard = small.model.explain(small.inputs), small.model.explain(small.inputs, routing=routing)
    assert small.model.routing == "soft"
    reach = hard.details["reach"]
    assert set(reach.unique().tolist()) <= {0.0, 1.0} and (reach.sum(1) == small.model.tree.depth).all()
    answers = soft.activation
    for row in range(len(answers)):
        if routing == "greedy":
            node = 0
            while node < small.model.tree.nodes:
                node = 2 * node + (2 if answers[row, node] >= 0.5 else 1)
            leaf = node - small.model.tree.nodes
        else:
            leaf = int(small.model.tree.arrivals(answers)[row].argmax())
        torch.testing.assert_close(hard.scores[row], small.model.tree.distributions()[leaf])
        assert f"leaf {leaf}:" in hard.statements[row]
        turns = hard.details["turn"][row]
        assert [(n, t > 0) for n, t in enumerate(turns.tolist()) if t] == small.model.tree.path(leaf)


def test_what_an_explanation_says_of_absence_is_what_an_edit_does() -> None:
    small = prototree()
    explanation = small.model.explain(small.inputs)
    with torch.no_grad():
        evidence = small.model.step(small.inputs)[1]
        for n, unit in enumerate(explanation.units):
            for name, value in (("absent", 0.0), ("present", 1.0)):
                scores = small.model.readout(small.model.edit(evidence, {unit.name: value}))
                wanted = scores.gather(1, explanation.target[:, None])[:, 0]
                torch.testing.assert_close(explanation.details[name][:, n], wanted)


def test_push_takes_patches_of_the_classes_below_a_node() -> None:
    """As in the published code; a prototype could come from an image whose class no leaf below predicts."""
    model, images = prototree().model, RandomImages()
    with torch.no_grad():
        model.tree.leaves.copy_(5 * torch.eye(3)[[0, 1, 2, 2, 0, 0, 1, 2]])
        model.tree.cuts[2] = -1  # the right side of node 2 is cut off
        wanted = model.prototypes.vectors.normal_().clone()
        patches = model.embed(images.inputs).flatten(2).mT  # (N, HW, D)
    below = [{0, 1, 2}, {0, 1, 2}, {0}, {0, 1}, {2}, {0}, {1, 2}]
    model.push(ProjectionSet(images))
    for n, classes in enumerate(below):
        rows = [i for i, target in enumerate(images.targets.tolist()) if target in classes]
        nearest = min(rows, key=lambda i, n=n: (wanted[n] - patches[i]).square().sum(1).min().item())
        assert int(model.prototypes.provenance.index[n]) == nearest


def test_push_takes_the_nearest_patch_of_any_class() -> None:
    model = prototree(projection="all").model
    with torch.no_grad():
        model.prototypes.vectors.copy_(torch.rand(7, 6, generator=torch.Generator().manual_seed(5)))
    wanted, images = model.prototypes.vectors.detach().clone(), RandomImages()
    model.push(ProjectionSet(images))
    with torch.no_grad():
        patches = model.embed(images.inputs).flatten(2).mT  # (N, HW, D)
    distances = (wanted[:, None] - patches.flatten(0, 1)).square().sum(2)  # (P, N HW)
    nearest = distances.argmin(1)
    assert model.prototypes.provenance.index.tolist() == (nearest // patches.shape[1]).tolist()
    assert model.prototypes.provenance.cell.tolist() == (nearest % patches.shape[1]).tolist()
    torch.testing.assert_close(model.prototypes.vectors, patches.flatten(0, 1)[nearest])
    presence = model.explain(images.inputs).activation  # (N, P)
    torch.testing.assert_close(presence.amax(0), torch.ones(len(wanted)), atol=1e-5, rtol=0)


STAGES = [
    {"name": "warm", "epochs": 12, "train": ["backbone", "addon", "prototypes"]},
    {"name": "prune"},
    {"name": "push"},
    {"name": "measure", "epochs": 1, "train": []},
]


def test_it_learns_and_its_leaves_keep_their_weight() -> None:
    data = ToyData()
    options = {"backbone": TINY, "depth": 3, "dim": 8, "tau": 0.4, "thumbnail": 8}
    torch.manual_seed(0)
    model = ProtoTree(COLOURS, **options, recipe={"stages": STAGES, "lr": 0.02})
    fit(model, data)
    assert float(model.tree.leaves.sum()) == pytest.approx(len(data.train), rel=0.2)  # an image gains 1 an epoch
    model.eval()
    assert (model(data.val.inputs).argmax(1) == data.val.targets).float().mean() > 0.8
    explanation = model.explain(data.val.inputs[:4])
    assert all("leaf" in text for text in explanation.statements)


SETTLE = [
    {"name": "warm", "epochs": 1, "train": ["addon", "prototypes"]},
    {"name": "push"},
    {"name": "settle", "epochs": 3, "train": ["addon"]},
    {"name": "push"},
    {"name": "measure", "epochs": 1, "train": []},
]


def test_prototypes_stay_patches_while_the_addon_trains() -> None:
    class Observer(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
            if trainer.current_epoch in (1, 3):
                seen.append(patches(pl_module))
                assert pl_module.prototypes.pushed and torch.allclose(*seen[-1], atol=1e-6)

    def patches(model: ProtoTree) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the patches lie that the prototypes come from, and the prototypes."""
        index, cell = model.prototypes.provenance.index, model.prototypes.provenance.cell
        with torch.no_grad(), evaluating(model):
            z = model.embed(torch.stack([data.train[i]["input"] for i in index.tolist()])).flatten(2)
        return z[torch.arange(len(z)), :, cell], model.prototypes.vectors.detach().clone()

    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    torch.manual_seed(0)
    data = ToyData(48)
    model = ProtoTree(COLOURS, TINY, depth=2, dim=4, projection="all", recipe={"stages": SETTLE, "lr": 0.05})
    fit(model, data, [Observer()])
    assert not torch.allclose(seen[0][1], seen[1][1], atol=1e-3)  # the add-on moved them
    assert torch.allclose(model.prototypes.vectors, seen[1][1], atol=1e-6)  # the second push did not
    assert model.prototypes.provenance.distance.max() < 1e-9


def test_prototypes_follow_their_patches_after_an_interruption(tmp_path: Path) -> None:
    def train(epochs: int, start: Path | None = None) -> tuple[Trainer, dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        model = ProtoTree(COLOURS, TINY, depth=2, dim=4, recipe={"stages": SETTLE, "lr": 0.05})
        options: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        trainer = Trainer(max_epochs=epochs, accelerator="cpu", enable_checkpointing=False, **options)
        trainer.fit(model, datamodule=ToyData(48), ckpt_path=start)
        return trainer, model.state_dict()

    _, straight = train(5)
    trainer, _ = train(3)  # in the middle of "settle"
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    _, resumed = train(5, tmp_path / "last.ckpt")
    assert all(torch.equal(resumed[name], value) for name, value in straight.items() if "metrics" not in name)


def test_a_push_that_costs_accuracy_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """A push could wreck a tree without a word."""
    caplog.set_level("INFO", "lightning.pytorch.utilities.rank_zero")
    model = ProtoTree(COLOURS, TINY, depth=2, dim=4, tau=0.0, thumbnail=8, recipe={"stages": STAGES, "lr": 0.02})
    accuracies, push = [], ProtoTree.push
    data = ToyData()

    def wreck(projection_set: ProjectionSet) -> None:
        with torch.no_grad(), evaluating(model):
            accuracies.append(float((model(data.val.inputs).argmax(1) == data.val.targets).float().mean()))
        push(model, projection_set)
        model.tree.leaves[:] = torch.tensor([0.0, 0.0, 5.0])  # every image is blue

    wreck.__dict__["is_action"] = True
    model.push = wreck
    with pytest.warns(UserWarning, match=r"push lowered the validation accuracy from \S+ to 33.3%.*longer, or"):
        fit(model, data)
    assert f"push: validation accuracy {accuracies[0]:.1%} before, 33.3% after." in caplog.text


def test_errors() -> None:
    with pytest.raises(ValueError, match="routing must be one of soft, greedy, max_path; got 'hard'"):
        prototree(routing="hard")
    with pytest.raises(ValueError, match="expected 1 <= depth <= 14"):
        zoo.create_model("prototree", domain=IMAGES, backbone=TINY, depth=0)
    with pytest.raises(ValueError, match=r"a tree of depth 8 has 256 leaves, but there are \d+ training images; lower"):
        fit(ProtoTree(COLOURS, TINY, depth=8, recipe={"stages": STAGES}), ToyData())
    stages = [{"name": "joint", "epochs": 1, "train": ["addon", "prototypes"]}]
    with pytest.raises(ValueError, match=r"trains anything, add \{name: push\} and \{name: measure"):
        fit(ProtoTree(COLOURS, TINY, depth=1, recipe={"stages": stages}), ToyData())
