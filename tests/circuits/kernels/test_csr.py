"""Inference with the non-zeros alone: equal to the dense layers, at every shape."""

import pytest
import torch
from torch import Tensor, nn

from zoo.circuits.kernels.csr import SparseLinear, compress, csr_linear, to_csr


def sparse(rows: int, columns: int, density: float = 0.05, bias: bool = True) -> nn.Linear:
    linear = nn.Linear(columns, rows, bias=bias)
    with torch.no_grad():
        linear.weight.mul_(torch.rand_like(linear.weight) < density)
    return linear


@pytest.mark.parametrize("shape", [(1, 64), (31, 64), (256, 64), (600, 64), (2, 3, 64), (64,), (0, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_equals_the_dense_product(shape: tuple[int, ...], bias: bool) -> None:
    linear, x = sparse(96, 64, bias=bias), torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(csr_linear(x, to_csr(linear.weight, linear.bias)), linear(x), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(SparseLinear(linear)(x), linear(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dead", ["rows", "columns", "both", "all"])
def test_dead_rows_and_columns_are_dropped(dead: str, bias: bool) -> None:
    linear = sparse(30, 20, density=0.5, bias=bias)
    with torch.no_grad():
        if dead in ("rows", "both"):
            linear.weight[3:11] = 0
        if dead in ("columns", "both"):
            linear.weight[:, ::2] = 0
        if dead == "all":
            linear.weight.zero_()
        if bias:
            linear.bias[3:5] = 0
    small = SparseLinear(linear)
    whole = linear.weight if linear.bias is None else torch.cat([linear.weight, linear.bias[:, None]], 1)
    live = (whole != 0).any(1).sum(), (linear.weight != 0).any(0).sum() + bias
    assert small.live == tuple(int(n) for n in live)
    x = torch.randn(2, 7, 20)
    with torch.no_grad():
        torch.testing.assert_close(small(x), linear(x))
    assert torch.equal(small.weight, linear.weight)
    assert small.bias is None if linear.bias is None else torch.equal(small.bias, linear.bias)
    assert f"20, 30, non-zeros={int(whole.count_nonzero())}" in repr(small)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.head = sparse(128, 32), sparse(32, 128), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.down(self.up(x).relu()))


def test_compress_replaces_what_is_sparse_in_a_copy() -> None:
    net = Net()
    small = compress(net, density=0.2)
    assert [type(m) for m in (small.up, small.down, small.head)] == [SparseLinear, SparseLinear, nn.Linear]
    assert type(net.up) is nn.Linear
    x = torch.randn(9, 32)
    with torch.no_grad():
        torch.testing.assert_close(small(x), net(x), atol=1e-4, rtol=1e-4)
    assert type(compress(net, density=0.2, leave=["up"]).up) is nn.Linear
    assert isinstance(compress(net.up, density=0.2), SparseLinear)


def test_nothing_to_compress() -> None:
    with pytest.raises(
        ValueError, match=r"no linear layer has a density of at most 0.0625 \(the sparsest, '0', has 1\)"
    ):
        compress(nn.Sequential(nn.Linear(4, 4)))
    with pytest.raises(ValueError, match=r"\(it has no linear layer\)"):
        compress(nn.Sequential(nn.ReLU()))


def test_wrong_inputs() -> None:
    linear = sparse(6, 4)
    with pytest.raises(ValueError, match=r"a weight \(6, 4\) needs inputs \(..., 4\); got \(2, 5\)"):
        csr_linear(torch.ones(2, 5), to_csr(linear.weight))
    with pytest.raises(ValueError, match=r"must be in CSR format \(see to_csr\); got layout torch.strided"):
        csr_linear(torch.ones(2, 4), linear.weight)
    with pytest.raises(ValueError, match=r"expected a matrix \(m, n\) .* got shape \(3,\)"):
        to_csr(torch.ones(3))
    with pytest.raises(ValueError, match=r"expected inputs \(..., 4\); got \(2, 5\)"):
        SparseLinear(linear)(torch.ones(2, 5))
