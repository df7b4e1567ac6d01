"""The recipe as a Trainer runs it: what is frozen when, learning rates, actions, and errors."""

from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from tests.small_models import IMAGES, RandomImages, protopnet
from tests.toy import COLOURS, ColouredSquares, ToyData, fit
from zoo.prototypes import ProtoPNet
from zoo.training.arguments import plain
from zoo.training.batch import as_batch
from zoo.training.black_box import BlackBox
from zoo.training.modes import action, evaluating
from zoo.training.projection_set import ProjectionSet

GROUPS = ("backbone", "addon", "prototypes", "head")
RECIPE = [
    {"name": "warm", "epochs": 1, "train": ["addon", "prototypes"], "lr": {"addon": 0.02}},
    {"name": "joint", "epochs": 3, "train": ["backbone", "addon", "prototypes"], "decay_every": 2, "decay": 0.1},
    {"name": "push"},
    {"name": "last", "epochs": 1, "train": ["head"]},
]


def small(**arguments: Any) -> ProtoPNet:
    settings = {
        "backbone": {"name": "convnet", "widths": [4], "pool": [0]},
        "prototypes_per_class": 1,
        "dim": 4,
        "thumbnail": 8,
    }
    lr = {"backbone": 0.001, "addon": 0.003, "prototypes": 0.005, "head": 0.007}
    recipe = {"stages": RECIPE, "lr": lr, **arguments.pop("recipe", {})}
    return ProtoPNet(COLOURS, **{**settings, **arguments}, recipe=recipe)


class Watch(Callback):
    """Notes at the first batch of each epoch what learns, and after each epoch what changed."""

    def __init__(self) -> None:
        self.learns: list[set[str]] = []
        self.modes: list[set[str]] = []
        self.lr: list[dict[str, float]] = []
        self.changed: list[set[str]] = []
        self.statistics_moved: list[bool] = []
        self.pushed: list[bool] = []

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx:
            return
        groups = module.groups()
        assert set(groups) == set(GROUPS)
        self.before = {name: self._weights(group) for name, group in groups.items()}
        self.statistics = self._statistics(module)
        self.learns.append({n for n, g in groups.items() if all(p.requires_grad for p in self._parameters(g))})
        assert all(len({p.requires_grad for p in self._parameters(g)}) == 1 for g in groups.values())
        children = {n: g for n, g in groups.items() if isinstance(g, torch.nn.Module)}
        self.modes.append({n for n, g in children.items() if all(m.training for m in g.modules())})
        assert all(len({m.training for m in g.modules()}) == 1 for g in children.values())
        self.lr.append({g["name"]: g["lr"] for g in trainer.optimizers[0].param_groups})
        self.pushed.append(bool(module.prototypes.pushed))

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        moved = {n for n, g in module.groups().items() if not torch.equal(self._weights(g), self.before[n])}
        self.changed.append(moved)
        self.statistics_moved.append(not torch.equal(self._statistics(module), self.statistics))

    @staticmethod
    def _parameters(group: torch.nn.Module | torch.nn.Parameter) -> list[torch.nn.Parameter]:
        return [group] if isinstance(group, torch.nn.Parameter) else list(group.parameters())

    def _weights(self, group: torch.nn.Module | torch.nn.Parameter) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self._parameters(group)])

    @staticmethod
    def _statistics(module: LightningModule) -> Tensor:
        return torch.cat([b.flatten().float() for b in module.backbone.buffers()])


@pytest.fixture(scope="module")
def watch() -> Watch:
    torch.manual_seed(0)
    seen = Watch()
    fit(small(), ToyData(48), [seen])
    return seen


def test_only_the_groups_of_the_stage_learn(watch: Watch) -> None:
    warm, joint, last = {"addon", "prototypes"}, {"backbone", "addon", "prototypes"}, {"head"}
    assert watch.learns == watch.changed == [warm, joint, joint, joint, last]


def test_frozen_groups_are_in_evaluation_mode_and_keep_their_statistics(watch: Watch) -> None:
    """Frozen batch norm in training mode would still move its running statistics, and with them every patch."""
    assert watch.modes == watch.learns
    assert watch.statistics_moved == [False, True, True, True, False]


def test_learning_rates_follow_stage_and_decay(watch: Watch) -> None:
    own = {"backbone": 0.001, "addon": 0.003, "prototypes": 0.005, "head": 0.007}
    decayed = {name: lr * 0.1 for name, lr in own.items()}
    for found, expected in zip(watch.lr, [{**own, "addon": 0.02}, own, own, decayed, own], strict=True):
        assert found == pytest.approx(expected)


def test_push_runs_before_the_stage_after_it(watch: Watch) -> None:
    assert watch.pushed == [False, False, False, False, True]


def test_one_learning_rate_for_all_and_weight_decay_for_some() -> None:
    model = small(recipe={"lr": 0.5, "weight_decay": {"addon": 0.25}, "optimizer": "sgd"})
    optimizer = model.configure_optimizers()
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (name, 0.5, 0.25 if name == "addon" else 0.0) for name in model.groups()
    ]
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {id(p) for p in model.parameters()}


def test_a_group_without_learning_rate_is_named() -> None:
    with pytest.raises(ValueError, match="lr names backbone, but not the parameter group 'addon'; add it"):
        small(recipe={"lr": {"backbone": 0.1}}).configure_optimizers()


@pytest.mark.parametrize("setting", ["lr", "weight_decay"])
def test_a_misspelt_group_is_refused(setting: str) -> None:
    """A weight decay for 'backbon' used to be ignored without a word."""
    groups = {**dict.fromkeys(GROUPS, 0.001), "backbon": 0.001}
    with pytest.raises(ValueError, match=f"{setting} names 'backbon', .*did you mean 'backbone'"):
        small(recipe={setting: groups}).configure_optimizers()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clusters", "ProtoPNet has no loss term 'clusters'; did you mean 'cluster'?"),
        (
            "zzz",
            "ProtoPNet has no loss term 'zzz'; there are: cross_entropy, cluster, separation, l1, fine_annotation.",
        ),
    ],
)
def test_unknown_coefficient_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        small(recipe={"coefficients": {name: 1.0}})
    assert str(caught.value) == message


def test_coefficients_that_are_not_named_stay() -> None:
    assert small(recipe={"coefficients": {"l1": 3.0}}).coefficients == {
        "cross_entropy": 1.0,
        "cluster": 0.8,
        "separation": 0.08,
        "l1": 3.0,
        "fine_annotation": 0.0,
    }


def test_loss_that_is_not_finite_stops_and_names_epoch_batch_and_term() -> None:
    data = ToyData(48)
    data.train.inputs[17] = torch.nan  # in the second batch of 16
    message = r"loss term 'cross_entropy' is not finite in epoch 0, batch 1 \(cross_entropy = nan.*l1 = 3\).*NaN inputs"
    with pytest.raises(FloatingPointError, match=message):
        fit(small(), data)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            [RECIPE[0], {"name": "pusch"}, RECIPE[3]],
            r"'pusch' has no epochs, so it is an action, but ProtoPNet has no such action \(it has: prune, push\)",
        ),
        ([RECIPE[0], {"name": "forward"}, RECIPE[3]], "'forward' has no epochs"),  # a method, but no action
        (
            [{"name": "joint", "epochs": 1, "train": ["prototype"]}],
            "stage 'joint' trains 'prototype', which is not a parameter group of ProtoPNet; groups: .*prototypes",
        ),
    ],
)
def test_recipe_that_the_model_cannot_follow_is_refused_before_training(recipe: list[dict], message: str) -> None:
    model = small(recipe={"stages": recipe})
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=message):
        fit(model, ToyData(48))
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_batches_are_mappings_or_pairs() -> None:
    x, y = torch.zeros(2), torch.ones(2)
    mapping = {"input": x, "target": y, "concepts": x}
    assert as_batch(mapping) is mapping
    for pair in ((x, y), [x, y]):
        assert as_batch(pair)["input"] is x and as_batch(pair)["target"] is y


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        ({"image": 0, "label": 1}, r"keys \['image', 'label'\]"),
        (torch.zeros(2, 3), "Tensor"),
        ([1, 2, 3], "list"),
        (None, "NoneType"),
    ],
)
def test_other_batches_are_refused(batch: Any, found: str) -> None:
    with pytest.raises(TypeError, match=f"dict with 'input' and 'target', or an .* pair; got {found}"):
        as_batch(batch)


def test_actions_run_without_gradients_in_evaluation_mode_and_restore_modes() -> None:
    class Probe(ProtoPNet):
        @action
        def look(self, projection_set: ProjectionSet) -> None:
            """Notes how it was run."""
            self.seen = torch.is_grad_enabled(), any(m.training for m in self.modules())
            if projection_set.world > 1:
                raise RuntimeError("stop")

    model = Probe(IMAGES, backbone={"name": "convnet", "widths": [4]}, prototypes_per_class=1, dim=4).train()
    model.addon.eval()
    modes = [m.training for m in model.modules()]
    model.look(ProjectionSet(RandomImages()))
    assert model.seen == (False, False)
    assert [m.training for m in model.modules()] == modes and torch.is_grad_enabled()
    with pytest.raises(RuntimeError, match="stop"):
        model.look(ProjectionSet(RandomImages(), world=2))
    assert [m.training for m in model.modules()] == modes and torch.is_grad_enabled()
    assert Probe.look.is_action and "Notes how" in Probe.look.__doc__


def test_evaluating_restores_modes_after_an_error() -> None:
    model = protopnet().model.train()
    model.backbone.eval()
    modes = [m.training for m in model.modules()]
    with pytest.raises(KeyError), evaluating(model):
        assert not any(m.training for m in model.modules())
        raise KeyError
    assert [m.training for m in model.modules()] == modes


def test_hyper_parameters_are_plain_data() -> None:
    model = small(recipe={"coefficients": {"l1": 0.5}})
    assert model.hparams["domain"] == plain(COLOURS) == COLOURS.to_dict()
    assert model.hparams["recipe"]["coefficients"] == model.coefficients and model.hparams["similarity"] == "log"
    again = ProtoPNet(**model.hparams)
    assert again.stages == model.stages and again.domain == model.domain


def test_recipe_knows_its_length_and_its_last_stage() -> None:
    assert small().max_epochs == 5


def test_blackbox_learns_and_has_the_same_metrics() -> None:
    model = BlackBox(
        COLOURS,
        backbone={"name": "convnet", "widths": [8], "pool": [0]},
        recipe={"stages": [{"name": "train", "epochs": 6, "train": ["backbone", "head"]}], "lr": 0.01},
    )
    trainer = fit(model, ToyData())
    assert {"train/loss/task", "val/loss", "val/accuracy", "monitor"} <= set(trainer.callback_metrics)
    result = trainer.test(model, datamodule=ToyData(), verbose=False)[0]
    test = ColouredSquares(48, seed=1)
    accuracy = model.eval()(test.inputs).argmax(1).eq(test.targets).float().mean().item()
    assert result["test/accuracy"] == pytest.approx(accuracy) and accuracy > 0.95
    with pytest.raises(
        ValueError, match="'backbones', which is not a parameter group of BlackBox; groups: backbone, head"
    ):
        fit(
            BlackBox(COLOURS, "convnet", recipe={"stages": [{"name": "train", "epochs": 1, "train": ["backbones"]}]}),
            ToyData(),
        )


def test_monitor_is_logged_in_the_last_stage_alone() -> None:
    class Monitors(Callback):
        def __init__(self) -> None:
            self.seen: list[bool] = []

        def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
            if not trainer.sanity_checking:
                self.seen.append("monitor" in trainer.callback_metrics)

    watch = Monitors()
    recipe = [RECIPE[0], {"name": "push"}, RECIPE[3]]
    fit(small(recipe={"stages": recipe}), ToyData(48), [watch])
    assert watch.seen == [False, True]
