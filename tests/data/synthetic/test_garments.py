"""Silhouettes and their textures."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.data.synthetic.garments import GARMENTS, draw_garments, fill, outlines


@given(st.integers(3, 8), st.floats(0, 6.3), st.floats(3, 9), st.floats(3, 9))
def test_filled_polygons_have_their_area(corners: int, start: float, rx: float, ry: float) -> None:
    angles = [start + 2 * math.pi * i / corners for i in range(corners)]
    points = [(15 + rx * math.cos(a), 15.3 + ry * math.sin(a)) for a in angles]
    # The shoelace formula.
    pairs = list(zip(points, points[1:] + points[:1], strict=True))
    area = abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs)) / 2
    length = sum(math.dist(a, b) for a, b in pairs)
    covered = fill(torch.tensor([[*points, points[-1], points[-1]]]), 32)
    assert abs(float(covered.sum()) - area) < 0.03 * length + 0.6


def test_a_rectangle_is_filled_pixel_by_pixel() -> None:
    covered = fill(torch.tensor([[[1.5, 0.5], [4.0, 0.5], [4.0, 3.5], [1.5, 3.5]]]), 6)[0]
    expected = torch.zeros(6, 6)
    expected[1:4, 2:4] = 1
    expected[1:4, 4] = 0.5  # the edge runs through these centres
    assert torch.allclose(covered, expected)


def test_a_notch_is_outside() -> None:
    covered = fill(torch.tensor([[[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [5.0, 2.0], [0.0, 10.0]]]), 11)[0]
    assert covered[8, 5] == 0 and covered[1, 5] == 1 and covered[8, 1] > 0.4 and covered[8, 10] > 0.4


def test_outlines_fit_in_their_box() -> None:
    found = outlines()
    assert len(found) == len(GARMENTS) == 10 and found.abs().max() <= 0.95
    for name, polygon in zip(GARMENTS, found, strict=True):
        mirrored = {(-x, y) for x, y in polygon.tolist()} == {(x, y) for x, y in polygon.tolist()}
        assert mirrored == (name not in ("shoe", "boot"))


def test_silhouettes_can_be_told_apart_and_textures_tell_nothing() -> None:
    draw = torch.Generator().manual_seed(0)
    kinds = torch.randint(10, (3000,), generator=draw)
    pictures = draw_garments(kinds, draw).float()
    inked = (pictures > 0).float().flatten(1)
    nearest = torch.cdist(inked[2500:], inked[:2500]).argmin(1)
    assert float((kinds[:2500][nearest] == kinds[2500:]).float().mean()) > 0.95
    assert pictures.max() < 255 and inked[:, 0].max() == 0
    solid = pictures.flatten(1).where(pictures.flatten(1) > 100, torch.nan).nanmean(1)
    means = torch.stack([solid[kinds == kind].nanmean() for kind in range(10)])
    assert float(means.std()) < 0.2 * float(solid[~solid.isnan()].std())
    again = draw_garments(kinds[:100], torch.Generator().manual_seed(4))
    assert torch.equal(again, draw_garments(kinds[:100], torch.Generator().manual_seed(4)))
