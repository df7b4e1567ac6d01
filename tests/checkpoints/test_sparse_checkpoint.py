"""Checkpoints store sparse weights in parts and check them when they are loaded."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import zoo
from tests.checkpoints.test_checkpoint import rewrite
from tests.small_models import protopnet
from zoo.checkpoints.config_file import WEIGHTS
from zoo.checkpoints.verify import verify
from zoo.utils.sparse_tensors import is_packed


def bits(tensor: Tensor) -> Tensor:
    return tensor.flatten().view(torch.uint8)


def test_a_sparse_weight_is_stored_in_parts_and_read_strictly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = protopnet().model
    name, biggest = max(model.state_dict().items(), key=lambda item: item[1].numel() * item[1].is_floating_point())
    zoo.save(model, tmp_path / "dense")
    assert not is_packed(load_file(tmp_path / "dense" / WEIGHTS))
    monkeypatch.setattr("zoo.utils.sparse_tensors.SMALLEST", 16)
    with torch.no_grad():
        biggest[torch.rand_like(biggest) > 1 / 64] = 0  # a product with a mask would leave -0.0, which is kept
        biggest.view(-1)[3] = -0.0
    folder = zoo.save(model, tmp_path / "sparse")
    assert is_packed(load_file(folder / WEIGHTS))
    for key, tensor in zoo.load(folder).state_dict().items():
        assert torch.equal(bits(tensor), bits(model.state_dict()[key])), key
    assert verify(folder) == 0
    rewrite(folder, lambda t: t.update({f"{name}::shape": t[f"{name}::shape"].flip(0) + 1}))
    with pytest.raises(ValueError, match=rf"{WEIGHTS}: '{name}' is torch.float32 .*; the model of the config needs"):
        zoo.load(folder)
    rewrite(folder, lambda t: [t.pop(key) for key in list(t) if key.startswith(f"{name}::")])
    with pytest.raises(ValueError, match=rf"missing \['{name}'\], unknown nothing"):
        zoo.load(folder)
