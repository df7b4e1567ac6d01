"""Storage of sparse tensors: bit-exact, small, and damaged parts are refused."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.utils.sparse_tensors import is_packed, pack, unpack

PATH, WEIGHTS = Path("weights"), "model.safetensors"


def bits(tensor: Tensor) -> Tensor:
    return tensor.flatten().view(torch.uint8)


def there_and_back(tensor: Tensor) -> Tensor:
    return unpack(pack({"w": tensor}), {"w": tensor.shape}, PATH)["w"]


@given(
    rows=st.integers(1, 60),
    columns=st.integers(1, 3000),
    density=st.sampled_from([0.0, 1e-5, 1e-3, 1 / 64, 0.1, 0.3, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
)
def test_the_same_bits_come_back(rows: int, columns: int, density: float, dtype: torch.dtype) -> None:
    tensor = torch.randn(rows, columns) * (torch.rand(rows, columns) < density)
    tensor.view(-1)[-1] = [0.0, -0.0, torch.nan, 1.0][columns % 4]
    tensor = tensor.to(dtype)
    back = there_and_back(tensor)
    assert back.dtype == dtype and back.shape == tensor.shape and torch.equal(bits(back), bits(tensor))


@pytest.mark.parametrize(("one_in", "smaller"), [(16, 10), (64, 20), (1000, 500)])
def test_it_is_small_on_the_disk(tmp_path: Path, one_in: int, smaller: float) -> None:
    weight = torch.zeros(1024 * 1024)
    weight[torch.randperm(weight.numel())[: weight.numel() // one_in]] = 1.5
    save_file(pack({"w": weight.view(1024, 1024)}), tmp_path / WEIGHTS)
    assert weight.nbytes / (tmp_path / WEIGHTS).stat().st_size > smaller
    assert torch.equal(unpack(load_file(tmp_path / WEIGHTS), {"w": (1024, 1024)}, PATH)["w"].view(-1), weight)


@pytest.mark.parametrize(
    "tensor",
    [torch.randn(64, 64), torch.zeros(1023), torch.zeros(64, 64, dtype=torch.int64), torch.zeros(4096).bool()],
    ids=["dense", "small", "integers", "bools"],
)
def test_what_is_left_as_it_is(tensor: Tensor) -> None:
    packed = pack({"w": tensor})
    assert set(packed) == {"w"} and packed["w"] is tensor and not is_packed(packed)


def test_each_way_to_tell_positions() -> None:
    """Near ones as bits, others as gaps of one byte, far ones as gaps of two; runs of zeros beyond either."""
    found = {}
    for one_in in (4, 64, 1000):
        tensor = torch.zeros(400_000)
        tensor[::one_in] = 1
        found[one_in] = {k.partition("::")[2]: t.dtype for k, t in pack({"w": tensor}).items()}
    assert "bits" in found[4] and found[64]["gaps"] == torch.uint8 and found[1000]["gaps"] == torch.uint16
    for place in (254, 255, 256, 509, 510, 511, 65534, 65535, 65536, 131070, 399_999):
        tensor = torch.zeros(400_000)
        tensor[place] = -2
        assert torch.equal(there_and_back(tensor), tensor), place


def packed(one_in: int) -> dict[str, Tensor]:
    tensor = torch.zeros(50, 40)
    tensor.view(-1)[::one_in] = 1
    return pack({"w": tensor})


@pytest.mark.parametrize(
    ("one_in", "change", "message"),
    [
        (64, {"values": torch.ones(3)}, "it has 3 values and 32 positions"),
        (64, {"values": torch.ones(32).int()}, r"its values are torch.int32 \(32,\)"),
        (64, {"gaps": torch.full((32,), 200, dtype=torch.uint8)}, "its last position is 6431, of 2000 entries"),
        (64, {"gaps": torch.full((32,), 255, dtype=torch.uint8)}, "its last position is 8159, of 2000 entries"),
        (64, {"gaps": torch.ones(32)}, r"its gaps are torch.float32 \(32,\)"),
        (64, {"gaps": None}, "it has the parts shape, values; expected shape, values and gaps or bits"),
        (64, {"other": torch.ones(1)}, "it has the parts gaps, other, shape, values"),
        (64, {"shape": torch.tensor([-50, -40])}, r"its shape is \[-50, -40\]"),
        (4, {"bits": torch.zeros(250, dtype=torch.uint8)}, "it has 500 values and 0 positions"),
        (4, {"bits": torch.zeros(9, dtype=torch.uint8)}, r"its 2000 entries cannot have the bits torch.uint8 \(9,\)"),
    ],
)
def test_damage_is_refused(one_in: int, change: dict[str, Tensor | None], message: str) -> None:
    parts = packed(one_in)
    for part, tensor in change.items():
        if tensor is None:
            del parts["w::" + part]
        else:
            parts["w::" + part] = tensor
    with pytest.raises(ValueError, match=rf"weights: the sparse tensor 'w' is damaged: {message}.*Get the file again"):
        unpack(parts, {"w": (50, 40)}, PATH)


def test_a_tensor_cannot_be_there_twice() -> None:
    with pytest.raises(ValueError, match="'w' is damaged: it is stored both whole and in parts"):
        unpack({**packed(64), "w": torch.ones(50, 40)}, {"w": (50, 40)}, PATH)


def test_what_is_not_expected_takes_no_memory() -> None:
    parts = {**packed(64), "w::shape": torch.tensor([2**40, 2**10])}
    assert unpack(parts, {"w": (50, 40)}, PATH)["w"].is_meta
    assert unpack(parts, {}, PATH)["w"].shape == (2**40, 2**10)
