"""AbsTopK: exactly k entries, ties to the lowest index, and gradients only for kept entries."""

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from zoo.circuits.kernels import selection
from zoo.circuits.kernels.topk import abs_topk, fused, plain

ROOT = Path(__file__).resolve().parents[3]


def by_sorting(x: Tensor, k: int) -> Tensor:
    """Mask of the kept entries, by a stable sort."""
    order = x.abs().double().sort(dim=-1, descending=True, stable=True).indices[..., :k]
    return torch.zeros_like(x, dtype=torch.bool).scatter(-1, order, True)


def rows(n: int, dtype: torch.dtype, device: str = "cpu") -> Tensor:
    """Rows without ties, all zero, of few values, mostly zero, with infinities, and with a NaN."""
    x = torch.randn(6, n)
    x[1] = 0
    x[2] = torch.randint(-2, 3, (n,))
    x[3] *= torch.rand(n) < 0.1
    x[4, : n // 2] = -torch.inf
    x[5, n // 3] = torch.nan
    return x.to(device, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@given(n=st.integers(2, 70), share=st.floats(0, 1))
def test_it_equals_a_stable_sort(dtype: torch.dtype, n: int, share: float) -> None:
    k = min(max(int(share * n), 1), n - 1)
    x = rows(n, dtype).requires_grad_()
    out = abs_topk(x, k)
    kept = by_sorting(x, k)
    assert torch.equal(out.nan_to_num(7.0), torch.where(kept, x, 0).nan_to_num(7.0)) and out.dtype == dtype
    weight = torch.rand(out.shape).to(dtype) + 1
    (out * weight).sum().backward()
    assert x.grad is not None and torch.equal((x.grad != 0), kept) and (kept.sum(-1) == k).all()
    assert torch.equal(x.grad, weight * kept)


def test_rows_of_a_larger_tensor_and_many_chunks() -> None:
    """Query, key and value are strided parts of one projection, with more rows than one chunk."""
    x = torch.randn(3, 200, 3 * 256)
    for part in x.chunk(3, -1):
        assert torch.equal(abs_topk(part, 60), plain(part, 60))


def test_zeros_and_the_smallest_numbers_in_rows_of_few_values() -> None:
    """Rows of which zeros are kept, alone and beside denormal numbers, which are smaller than the length of a row."""
    x = torch.randn(5, 40) * (torch.rand(5, 40) < 0.2)
    x[1, 7], x[1, 30:33] = 3e-44, -1e-45
    x[2] = 0
    x[2, 9] = 1e-45
    x[3] = torch.randn(40)
    for k in (1, 8, 20, 39):
        given = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(abs_topk(given, k).sum(), given)
        assert torch.equal(grad != 0, by_sorting(x, k)), k


def test_several_vectors_and_overwriting_with_two_threads() -> None:
    """Vectors one after another; values that are overwritten, if they are contiguous, have the same gradients."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        n = 100
        start, weight = torch.randn(2, 150, 3 * n), torch.rand(2, 150, 3 * n) + 1
        expected = torch.cat([plain(vector, n // 4) for vector in start.chunk(3, -1)], -1)
        for overwrite in (False, True):
            x = start.clone().requires_grad_()
            private = x * 1
            before = private.data_ptr()
            out = abs_topk(private, n // 4, 3, overwrite)
            assert torch.equal(out, expected) and (out.data_ptr() == before) == overwrite
            (grad,) = torch.autograd.grad((out * weight).sum(), x)
            assert torch.equal(grad, weight * (expected != 0))
        strided = start.mT.contiguous().mT
        kept = strided.clone(memory_format=torch.preserve_format)
        assert not strided.is_contiguous()
        assert torch.equal(abs_topk(strided, n // 4, 3, overwrite=True), expected) and torch.equal(strided, kept)
    finally:
        torch.set_num_threads(threads)


def test_a_length_that_is_no_multiple_of_the_parts() -> None:
    with pytest.raises(ValueError, match="cannot split 5 entries into 2 vectors"):
        abs_topk(torch.randn(2, 5), 1, parts=2)


def test_a_thread_that_fails_or_starts_late() -> None:
    done: list[int] = []
    release = Event()
    with ThreadPoolExecutor(1) as pool, patch.object(selection, "_threads", lambda process: pool):
        pool.submit(release.wait)  # the only helper is busy, so that this thread does everything
        selection.in_threads(done.append, range(5), 2)
        assert done == [0, 1, 2, 3, 4]
        release.set()

    def fail(part: int) -> None:
        if part == 3:
            raise ArithmeticError("part 3")

    with pytest.raises(ArithmeticError, match="part 3"):
        selection.in_threads(fail, range(6), 2)


def test_k_beyond_the_width_changes_nothing_and_empty_batches_pass() -> None:
    x = torch.randn(2, 5)
    assert abs_topk(x, 5) is x and abs_topk(x, 9) is x
    assert abs_topk(torch.randn(0, 5), 2).shape == (0, 5)


def test_k_must_be_positive() -> None:
    with pytest.raises(ValueError, match="AbsTopK requires k >= 1; got k=0"):
        abs_topk(torch.randn(2, 5), 0)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 12)

    def forward(self, x: Tensor) -> Tensor:
        return abs_topk(self.linear(x), 4)


def test_it_exports_with_a_dynamic_batch() -> None:
    model = Small().eval()
    exported = torch.export.export(model, (torch.randn(3, 6),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    x = torch.randn(7, 6)
    torch.testing.assert_close(exported.module()(x), model(x))


def test_gradients_of_gradients() -> None:
    x = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: abs_topk(x, 3).pow(3), x)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n", [7, 64, 1000, 4096, 8192])
def test_the_cuda_kernel_equals_the_cpu(dtype: torch.dtype, n: int) -> None:
    x = rows(n, dtype)
    device = x.cuda().requires_grad_()
    assert fused(device)
    for k in (1, n // 4 + 1, n - 1):
        out = abs_topk(device, k)
        assert torch.equal(out.cpu().nan_to_num(7.0), abs_topk(x, k).nan_to_num(7.0))
        (grad,) = torch.autograd.grad(out.sum(), device)
        assert torch.equal(grad.cpu() != 0, by_sorting(x, k))


def in_interpreter(code: str) -> None:
    """Runs Triton kernels without a device, in a new process because the interpreter is selected at import."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PACKAGES + code],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.endswith("equal\n"), done.stderr


# Empty packages in place of those whose imports take seconds and are not needed for a kernel.
PACKAGES = """
import sys, types
for name in ("zoo", "zoo.circuits"):
    package = types.ModuleType(name)
    package.__path__ = [name.replace(".", "/")]
    sys.modules[name] = package
import torch
torch.manual_seed(0)
"""
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")


@needs_triton
def test_the_kernel_in_triton_s_interpreter() -> None:
    in_interpreter("""
from zoo.circuits.kernels import selection
from zoo.circuits.kernels.topk import _select
from zoo.circuits.kernels.triton_topk import fused_abs_topk
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    for n, k in ((7, 3), (64, 16), (100, 99), (33, 1))[: 4 if dtype == torch.float32 else 2]:
        x = torch.randn(2, 3, n + 3)[..., 3:]
        x[0, 1] = 0
        x[0, 2] = torch.randint(-2, 3, (n,))
        x[1, 0] *= torch.rand(n) < 0.1
        x[1, 1, : n // 2], x[1, 2, n // 3] = -torch.inf, torch.nan
        x = x.to(dtype)
        (out, kept), expected, mask = fused_abs_topk(x, k), torch.empty_like(x), torch.empty(x.shape, dtype=torch.bool)
        _select(x, k, n, expected, mask)
        assert torch.equal(kept, mask) and bool((kept.sum(-1) == k).all()), (dtype, n, k)
        assert torch.equal(out.nan_to_num(7.0), expected.nan_to_num(7.0)), (dtype, n, k)
print("equal")
""")
