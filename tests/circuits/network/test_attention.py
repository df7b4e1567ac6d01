"""Sink attention: the softmax with one more slot, by the kernel of plain attention, gradients included."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.circuits.network import attention
from zoo.circuits.network.attention import explicit, sink_attention


def inputs(shape: tuple[int, ...], dtype: torch.dtype, device: str = "cpu") -> list[Tensor]:
    made = [torch.randn(shape), torch.randn(shape), torch.randn(shape), 2 * torch.randn(shape[1])]
    return [t.to(device, dtype).requires_grad_() for t in made]


@pytest.mark.parametrize("shape", [(2, 3, 17, 8), (1, 2, 1, 4), (2, 4, 130, 16), (3, 1, 5, 6)])
def test_it_equals_the_definition_with_its_gradients(shape: tuple[int, ...]) -> None:
    given = inputs(shape, torch.float64)
    assert attention._kernel(*given[:3]) is not None
    weight = torch.randn(shape, dtype=torch.float64)
    found, expected = sink_attention(*given), explicit(*given)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad((found * weight).sum(), given),
        torch.autograd.grad((expected * weight).sum(), given),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("function", [sink_attention, explicit])
def test_gradients_are_those_of_finite_differences(function) -> None:
    assert torch.autograd.gradcheck(function, inputs((1, 2, 5, 3), torch.float64))


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
def test_lower_precision(dtype: torch.dtype, off: float) -> None:
    given = inputs((2, 4, 65, 16), dtype)
    found = sink_attention(*given)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), explicit(*(t.double() for t in given)), atol=off, rtol=off)
    found.float().sum().backward()
    assert all(t.grad is not None and t.grad.dtype == dtype for t in given)


def test_sinks_far_away() -> None:
    """A sink of -1000 is none; one of 1000 takes all; neither gives NaN."""
    q, k, v, _ = (t.detach() for t in inputs((2, 3, 9, 8), torch.float32))
    sink = torch.tensor([-1000.0, 0.0, 1000.0], requires_grad=True)
    found = sink_attention(q, k, v, sink)
    plain = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(found[:, 0], plain[:, 0])
    torch.testing.assert_close(sink_attention(q, k, v, None), plain)
    assert (found[:, 2] == 0).all()
    (grad,) = torch.autograd.grad(found.sum(), sink)
    assert grad.isfinite().all() and grad[0] == 0


def test_nothing_of_the_future_is_seen() -> None:
    q, k, v, sink = (t.detach() for t in inputs((1, 2, 12, 4), torch.float32))
    changed = [t.clone().index_fill_(2, torch.arange(6, 12), 3.0) for t in (q, k, v)]
    torch.testing.assert_close(sink_attention(*changed, sink)[:, :, :6], sink_attention(q, k, v, sink)[:, :, :6])


def test_empty_prompts_and_batches() -> None:
    for shape in ((0, 2, 5, 4), (2, 2, 0, 4)):
        assert sink_attention(*inputs(shape, torch.float32)).shape == shape


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 5, 4), (3,)),
            r"the same shape \(B, H, T, D\); got \(2, 3, 5, 4\), \(2, 3, 6, 4",
        ),
        (((2, 3, 5, 4),) * 3 + ((4,),), r"expected one sink logit per head, shape \(3,\); got \(4,\)"),
    ],
)
def test_wrong_shapes(shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sink_attention(*(torch.randn(shape) for shape in shapes))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sink = nn.Parameter(torch.randn(2))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = x.chunk(3, -1)
        return sink_attention(q, k, v, self.sink)


def test_it_exports_with_a_dynamic_batch() -> None:
    model = Small().eval()
    batch = torch.export.Dim("batch")
    exported = torch.export.export(model, (torch.randn(3, 2, 7, 12),), dynamic_shapes=({0: batch},))
    x = torch.randn(5, 2, 7, 12)
    torch.testing.assert_close(exported.module()(x), model(x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-3), (torch.bfloat16, 5e-2), (torch.float16, 1e-2)])
@pytest.mark.parametrize("length", [1, 33, 256])
def test_cuda_kernels(dtype: torch.dtype, off: float, length: int) -> None:
    given = inputs((2, 4, length, 16), dtype, "cuda")
    exact = [t.detach().double().requires_grad_() for t in given]
    assert attention._kernel(*given[:3]) is (attention._EFFICIENT if dtype == torch.float32 else attention._FLASH)
    found, expected = sink_attention(*given), explicit(*exact)
    torch.testing.assert_close(found.double(), expected, atol=off, rtol=off)
    for ours, theirs in zip(
        torch.autograd.grad(found.sum(), given), torch.autograd.grad(expected.sum(), exact), strict=True
    ):
        torch.testing.assert_close(ours.double(), theirs, atol=4 * off, rtol=4 * off)
