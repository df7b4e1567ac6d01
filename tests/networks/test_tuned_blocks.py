"""Only the last blocks learn: the others are buffers, keep their mode, and are shared by checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import zoo
from tests.checkpoints.test_shared_backbone import DOMAIN
from tests.weight_package import NETWORK
from zoo.checkpoints.config_file import WEIGHTS, read_config
from zoo.checkpoints.shared_backbone import FOLDER, write
from zoo.checkpoints.verify import verify
from zoo.networks.image_backbones import Backbone, create_backbone

STAGES = [{"name": "train", "epochs": 1, "train": ["backbone", "concepts", "head"]}]


def test_only_the_last_blocks_have_parameters() -> None:
    whole, tuned = (create_backbone({"name": NETWORK, "tune": tune}, 3) for tune in (0, 1))
    assert set(whole.state_dict()) == set(tuned.state_dict())
    learning = {name for name, _ in tuned.named_parameters()}
    assert learning and learning < {name for name, _ in whole.named_parameters()}
    assert tuned.fixed_names.isdisjoint(learning) and tuned.fixed_names | learning < set(tuned.state_dict())
    tuned.load_state_dict(whole.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(tuned.eval()(x), whole.eval()(x))
    tuned(x).sum().backward()
    assert all(parameter.grad is not None for parameter in tuned.parameters())


def test_training_changes_no_statistics() -> None:
    tuned = create_backbone({"name": NETWORK, "tune": 1}, 1).train()
    before = {name: tensor.clone() for name, tensor in tuned.named_buffers()}
    tuned(torch.randn(2, 1, 32, 32))
    assert all(torch.equal(tensor, before[name]) for name, tensor in tuned.named_buffers())


@pytest.mark.parametrize(("tune", "message"), [(99, "cannot make the last 99 blocks"), (-1, "tune must be a number")])
def test_impossible_numbers(tune: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_backbone({"name": NETWORK, "tune": tune}, 3)


def cbm(tune: int, **backbone: Any) -> zoo.SelfInterpretable:
    torch.manual_seed(0)
    model = zoo.create_model(
        "cbm", domain=DOMAIN, backbone={"name": NETWORK, "tune": tune, **backbone}, recipe={"stages": STAGES}
    )
    return model.eval()


def test_a_checkpoint_stores_what_learned_alone(tmp_path: Path) -> None:
    """The fixed blocks are in the shared file of the whole backbone, in half precision."""
    donor = create_backbone(NETWORK, 1).state_dict()
    half = {name: t.half() if t.is_floating_point() else t for name, t in donor.items()}
    file = write(half, NETWORK, tmp_path / FOLDER)
    model = cbm(1, weights=str(file))
    (backbone,) = (m for m in model.modules() if isinstance(m, Backbone))
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(1.0)
    path = zoo.save(model, tmp_path / "one", share_backbone=True)
    assert [f.name for f in (tmp_path / FOLDER).iterdir()] == [file.name]
    stored = {name.partition("network.")[2] for name in load_file(path / WEIGHTS) if "network." in name}
    learned = {name.removeprefix("network.") for name, _ in backbone.named_parameters()}
    assert learned <= stored and not any(f"network.{name}" in backbone.fixed_names for name in stored)
    loaded = zoo.load(path)
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert verify(path) == 0
    assert read_config(path)["arguments"]["backbone"]["tune"] == 1


def test_without_such_a_file_the_fixed_blocks_are_written(tmp_path: Path) -> None:
    path = zoo.save(cbm(1), tmp_path / "one", share_backbone=True)
    (file,) = (tmp_path / FOLDER).iterdir()
    (backbone,) = (m for m in cbm(1).modules() if isinstance(m, Backbone))
    assert set(load_file(file)) == backbone.fixed_names and verify(path) == 0
