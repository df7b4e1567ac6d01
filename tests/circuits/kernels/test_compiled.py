"""AbsTopK compiled by numba has the results of the selection by numpy, bit for bit."""

import importlib
import importlib.util
from collections.abc import Iterator
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from zoo.circuits.kernels import topk
from zoo.circuits.kernels.topk import abs_topk

numba = pytest.importorskip("numba", reason="needs the extra 'fast': pip install self-interpretable-zoo[fast]")
compiled = importlib.import_module("zoo.circuits.kernels.compiled")

BITS = {2: torch.int16, 4: torch.int32}


@pytest.fixture
def at_once() -> Iterator[None]:
    """Numba is used from the first entry."""
    with patch.object(topk, "_waited", topk.PATIENCE):
        yield


def random_bits(rows: int, n: int) -> Tensor:
    return torch.randint(-(2**31), 2**31 - 1, (rows, n), dtype=torch.int64).int().view(torch.float32)


def denormal(rows: int, n: int) -> Tensor:
    return torch.randint(-40, 40, (rows, n), dtype=torch.int64).int().view(torch.float32)


def with_nan(rows: int, n: int) -> Tensor:
    x = torch.randn(rows, n)
    x[:, : n // 2], x[:, n // 3] = -torch.inf, torch.nan
    return x


INPUTS = {
    "random": lambda rows, n: torch.randn(rows, n) * torch.exp(3 * torch.randn(rows, 1)),
    "mostly zero": lambda rows, n: torch.randn(rows, n) * (torch.rand(rows, n) < 0.1),
    "few values": lambda rows, n: torch.randint(-2, 3, (rows, n)).float(),
    "close values": lambda rows, n: 1 + torch.randint(-9, 9, (rows, n)) * 2**-23,
    "constant": lambda rows, n: torch.full((rows, n), -3.0),
    "negative zero": lambda rows, n: -torch.zeros(rows, n),
    "NaN and infinity": with_nan,
    "denormal": denormal,
    "any bits": random_bits,
}


def everything(x: Tensor, k: int, n: int) -> list[Tensor]:
    """Bits of the output, also in place and without a mask, of the mask, and of a gated gradient."""
    out, own, masked = torch.empty(x.shape, dtype=x.dtype), x.contiguous().clone(), x.contiguous().clone()
    kept, again = (torch.empty(x.shape, dtype=torch.bool) for _ in range(2))
    topk._select(x, k, n, out, kept)
    topk._select(own, k, n, own, None)
    topk._select(masked, k, n, masked, again)
    gated = topk._gated(x.flip(0), kept)
    return [kept, again, *(t.view(BITS[x.element_size()]) for t in (out, own, masked, gated))]


def compare(x: Tensor, n: int, threads: int) -> None:
    """Few and most entries are kept, by numpy and by numba."""
    with patch.object(topk, "threads_for", lambda x: threads):
        for k in {1, n // 4 or 1, n - 1}:
            with patch.object(topk, "PATIENCE", 2**60):
                expected = everything(x, k, n)
            with patch.object(topk, "_waited", topk.PATIENCE), patch.object(topk, "magnitudes", None):
                found = everything(x, k, n)
            assert all(map(torch.equal, found, expected)), (n, k)
            assert bool((found[0].sum(-1) == k).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", INPUTS)
def test_it_equals_numpy(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    for rows, n in ((3, 2), (30, 33), (30, 128), (20, 515)):
        x = INPUTS[name](rows, n)
        compare(x.to(dtype) if name != "any bits" else x.view(dtype)[..., :n], n, 1)


def test_two_threads() -> None:
    compare(torch.randn(500, 128), 128, 2)


def test_without_torch_s_threads(at_once: None) -> None:
    """Builds of torch with other thread pools."""
    x = torch.randn(300, 128)
    kept, out = torch.empty(x.shape, dtype=torch.bool), torch.empty_like(x)
    with patch.object(compiled, "_openmp", lambda: None), patch.object(topk, "threads_for", lambda x: 2):
        topk._select(x, 32, 128, out, kept)
    assert torch.equal(out, topk.plain(x, 32))


def test_strided_vectors_longest_vectors_and_gradients_of_gradients(at_once: None) -> None:
    x = torch.randn(3, 20, 3 * 64)
    for part in x.chunk(3, -1):
        assert torch.equal(abs_topk(part, 9), topk.plain(part, 9))
    for n in (topk.LONGEST, topk.LONGEST + 1):  # the second by numpy
        x = torch.randn(2, n)
        assert torch.equal(abs_topk(x, n // 2), topk.plain(x, n // 2))
    x = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: abs_topk(x, 3).pow(3), x)


def test_numba_starts_when_it_is_worth_it() -> None:
    x = torch.randn(4, 16)
    with patch.object(topk, "_waited", 0), patch.object(topk, "PATIENCE", 3 * x.numel()):
        assert [topk.compiled(x) for _ in range(4)] == [None, None, None, compiled]
        assert topk.compiled(x.double()) is None
    with patch.object(topk, "_waited", 0):
        assert topk.use_compiled() and topk.compiled(x) is compiled


def test_without_numba() -> None:
    load = topk._load.__wrapped__
    with patch.object(importlib.util, "find_spec", lambda name: None):
        assert load() is None
    with (
        patch.object(importlib, "import_module", side_effect=ImportError("Numba needs NumPy 2.3 or less")),
        pytest.warns(UserWarning, match="numba is installed but not used: Numba needs NumPy 2.3 or less"),
    ):
        assert load() is None


def test_a_numba_that_may_not_compile() -> None:
    spec = importlib.util.spec_from_file_location("again", compiled.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with patch.object(numba.config, "DISABLE_JIT", 1), pytest.raises(ImportError, match="NUMBA_DISABLE_JIT is set"):
        spec.loader.exec_module(module)


def test_no_folder_for_compiled_code() -> None:
    whole = numba.cfunc

    def without_cache(*args: object, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return whole(*args, **options)

    grad, kept = torch.randn(5, 6), torch.rand(5, 6) < 0.5
    with patch.object(numba, "cfunc", without_cache), pytest.warns(UserWarning, match="no locator available"):
        kernel = compiled._kernel.__wrapped__(compiled._gate_32)
    out = torch.empty_like(grad)
    with patch.object(compiled, "_kernel", lambda function: kernel):
        compiled.gate(grad, kept, out, 1)
    assert torch.equal(out, torch.where(kept, grad, 0))
