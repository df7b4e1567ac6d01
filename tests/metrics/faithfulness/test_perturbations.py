"""Perturbations against independent formulas: PIL, NumPy, and loops over tokens."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from zoo.domain import Domain, GraphDomain, ImageDomain, SeriesDomain, TableDomain, TextDomain
from zoo.metrics.faithfulness import perturbations_for
from zoo.metrics.faithfulness.perturbations import (
    Brightness,
    DroppedTokens,
    Jpeg,
    Noise,
    Quantise,
    Shift,
    UnknownTokens,
)

IMAGE = ImageDomain(classes=("a", "b"), size=(24, 32), channels=3)
GREY = ImageDomain(classes=("a", "b"), size=(9, 7), channels=1, mean=(0.5,), std=(0.5,))
STACK = ImageDomain(classes=("a", "b"), size=(16, 16), channels=4, mean=(0.0,) * 4, std=(1.0,) * 4)
TABLE = TableDomain(classes=("a", "b"), features=tuple("abcdef"))
SERIES = SeriesDomain(classes=("a", "b"), variables=("u", "v", "w"), length=20)
TEXT = TextDomain(classes=("a", "b"), vocabulary=tuple("abcdefgh"), length=15)
DOMAINS = {"image": IMAGE, "grey": GREY, "table": TABLE, "series": SERIES, "text": TEXT}


def inputs(domain: Domain, count: int) -> Tensor:
    """Pictures, numbers, or texts of different lengths."""
    draw = torch.Generator().manual_seed(0)
    if isinstance(domain, ImageDomain):
        return domain.normalise(torch.randint(0, 256, (count, *domain.shape), generator=draw, dtype=torch.uint8))
    x = domain.example(count, draw)
    return x * (torch.arange(x.shape[1]) <= torch.arange(count)[:, None]) if domain.modality == "text" else x


@pytest.mark.parametrize("name", DOMAINS)
def test_each_changes_inputs_and_neither_batch_nor_order_matters(name: str) -> None:
    domain = DOMAINS[name]
    x, ids = inputs(domain, 10), torch.arange(10)
    kinds = perturbations_for(domain, x)
    again = perturbations_for(domain, x)
    other = perturbations_for(domain, x, seed=1)
    assert (
        len({(kind.name, kind.severity) for kind in kinds})
        == len(kinds)
        == {"text": 6}.get(name, 12 if isinstance(domain, ImageDomain) else 6)
    )
    rows = torch.tensor([7, 2, 9])
    for kind, twin, differs in zip(kinds, again, other, strict=True):
        moved, before = kind(x, ids), x.clone()
        assert moved.shape == x.shape and moved.dtype == x.dtype and not moved.equal(x)
        assert x.equal(before) and twin(x, ids).equal(moved) and kind(x[rows], ids[rows]).equal(moved[rows])
        domain.check(moved, "model")
        if hasattr(kind, "seed"):
            assert not differs(x, ids).equal(moved)


def test_noise_has_its_size_and_is_clipped() -> None:
    x = torch.zeros(200, 100)
    noise = Noise(0.05)(x, torch.arange(200))
    assert noise.std().item() == pytest.approx(0.05, rel=0.02) and noise.abs().max() <= 0.25
    wide = Noise(0.2)(x, torch.arange(200))
    assert wide.abs().max() == 0.25 and (wide.abs() == 0.25).double().mean().item() == pytest.approx(0.2113, abs=0.01)


def coded(planes: Tensor, quality: int) -> Tensor:
    """One picture (1 or 3, H, W) through PIL's JPEG."""
    file, array = io.BytesIO(), planes.permute(1, 2, 0).numpy()
    Image.fromarray(array if len(planes) == 3 else array[..., 0]).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file)).reshape(array.shape)).permute(2, 0, 1)


@pytest.mark.parametrize("domain", [IMAGE, GREY, STACK], ids=["rgb", "grey", "stack"])
def test_jpeg_is_that_of_pil(domain: ImageDomain) -> None:
    x, ids = inputs(domain, 2), torch.arange(2)
    picture, losses = domain.picture(x), []
    for quality in (90, 50, 10):
        found = domain.picture(Jpeg(domain, quality)(x, ids)).int()
        for i in range(2):
            parts = picture[i].split(3 if domain.channels == 3 else 1)
            expected = torch.cat([coded(part, quality) for part in parts])
            assert (found[i] - expected.int()).abs().max() <= 1  # two decoders may round apart
        losses.append((found - picture.int()).abs().double().mean())
    assert losses == sorted(losses) and losses[0] > 0


def test_brightness_by_hand() -> None:
    x, ids = GREY.normalise(torch.tensor([[[[0, 100, 200, 250]]]], dtype=torch.uint8)), torch.arange(1)
    brighter, darker = (GREY.picture(Brightness(GREY, share)(x, ids)).flatten().tolist() for share in (0.1, -0.1))
    assert brighter == [0, 110, 220, 255] and darker == [0, 90, 180, 225]


@pytest.mark.parametrize("pixels", [1, 2, 4])
def test_shift_is_a_crop_of_the_padded_image(pixels: int) -> None:
    x, ids = inputs(IMAGE, 40), torch.arange(40)
    shift = Shift(IMAGE, pixels)
    moved, steps = shift(x, ids), shift.steps(ids)
    assert {tuple(s) for s in steps.tolist()} == {
        (a, b) for a in (-pixels, 0, pixels) for b in (-pixels, 0, pixels) if a or b
    }
    for one, got, (down, right) in zip(x.numpy(), moved.numpy(), steps.tolist(), strict=True):
        padded = np.pad(one, ((0, 0), (pixels, pixels), (pixels, pixels)), mode="edge")
        top, left = pixels - down, pixels - right
        assert np.array_equal(got, padded[:, top : top + 24, left : left + 32])


def test_shift_is_undone_where_the_image_still_is() -> None:
    x, ids = inputs(IMAGE, 20), torch.arange(20)
    shift = Shift(IMAGE, 3)
    back = shift.undo(shift(x, ids)[:, 0].flatten(1), x, ids)
    seen = shift.undo(torch.ones(20, 24 * 32), x, ids).bool()
    assert back[seen].equal(x[:, 0].flatten(1)[seen]) and not back[~seen].any()
    lost = {(24 * 32) - (24 - abs(a)) * (32 - abs(b)) for a, b in shift.steps(ids).tolist()}
    assert set((~seen).sum(1).tolist()) == lost


@pytest.mark.parametrize("domain", [TABLE, SERIES], ids=["table", "series"])
def test_quantised_numbers_are_the_nearest_levels(domain: Domain) -> None:
    reference = inputs(domain, 60)
    reference[..., 0] = 3.0  # a constant has no levels
    x, ids = reference[:9] * 0.9 + 0.3, torch.arange(9)
    found = Quantise(reference, domain, 4)(x, ids)
    assert found[..., 0].equal(x[..., 0])
    for f in range(1, x.shape[-1]):
        low, high = reference[..., f].min().item(), reference[..., f].max().item()
        levels = np.linspace(low, high, 16)
        nearest = levels[np.abs(x[..., f].numpy()[..., None] - levels).argmin(-1)]
        assert found[..., f].numpy() == pytest.approx(nearest, abs=1e-5)
    assert (Quantise(reference, domain, 8)(reference, ids) - reference).abs().max() < (
        reference.max() - reference.min()
    ) / 255


@given(st.integers(1, 15), st.sampled_from([0.05, 0.1, 0.2, 0.9]), st.integers(0, 50))
def test_tokens_are_replaced_or_dropped(length: int, share: float, i: int) -> None:
    tokens = torch.arange(2, 17) * (torch.arange(15) < length)  # all different
    x, ids = tokens[None], torch.tensor([i])
    count = min(max(round(share * length), 1), length - 1)
    replaced = UnknownTokens(share)(x, ids)
    assert int((replaced == 1).sum()) == count and replaced[replaced != 1].equal(x[replaced != 1])
    drop = DroppedTokens(share)
    kept = [t for t in drop(x, ids)[0].tolist() if t]
    assert len(kept) == length - count and kept == sorted(kept) and set(kept) <= set(tokens.tolist())
    assert drop(x, ids)[0].tolist() == kept + [0] * (15 - len(kept))
    back = drop.undo(drop(x, ids), x, ids)  # each in its old place, and 0 where it was dropped
    assert back.equal(torch.where(torch.isin(x, torch.tensor(kept)), x, 0))


def test_a_share_of_the_edges_of_graphs_is_dropped() -> None:
    graphs = GraphDomain(classes=("a", "b"), features=("f",), nodes=20, edges=24)
    x, ids = graphs.example(4, torch.Generator().manual_seed(0)), torch.arange(4)
    for drop in perturbations_for(graphs, x):
        less = drop(x, ids)
        graphs.check(less, "test")
        assert less[:, :20].equal(x[:, :20])
        lost = (less[:, 20:] != x[:, 20:]).any(2)
        assert not less[:, 20:][lost].any()
        assert lost.sum(1).tolist() == [max(round(drop.severity * n), 1) for n in x[:, 20:, 0].sum(1).tolist()]
