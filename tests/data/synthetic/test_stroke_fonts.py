"""The glyphs of the stroke fonts."""

import math

import pytest
import torch

from zoo.data.synthetic.stroke_fonts import FONTS, ROUND, font_table


def test_ten_fonts_draw_ten_digits_each_in_its_own_way() -> None:
    segments, counts = font_table()
    assert segments.shape[:2] == (10, 10) and counts.min() >= 1 and counts.max() == segments.shape[2]
    glyphs = {tuple(glyph.flatten().tolist()) for font in segments for glyph in font}
    assert len(glyphs) >= 80  # serif letters are partly the plain ones
    assert segments[..., 1::2].abs().max() <= 1.001 and segments[..., ::2].abs().max() <= 1


def test_rows_are_filled_with_the_last_segment() -> None:
    segments, counts = font_table()
    one = segments[list(FONTS).index("hand"), 1]
    assert int(counts[list(FONTS).index("hand"), 1]) == 1
    assert torch.equal(one, one[:1].expand_as(one))
    assert one[0].tolist() == pytest.approx([0.1, -1, -0.1, 1])  # upright, but for a slant of 0.1


def test_arcs_lie_on_their_ellipse_and_close() -> None:
    segments, counts = font_table()
    zero = segments[0, 0, : int(counts[0, 0])]
    x, y = zero[:, 0], zero[:, 1]
    assert torch.allclose((x / 0.6) ** 2 + y**2, torch.ones(12), atol=1e-5)
    assert torch.allclose(zero[:, 2:], zero.roll(-1, 0)[:, :2], atol=1e-5)
    x0, y0, rx, ry, start, stop = ROUND[6][0][1]
    end = segments[0, 6, int(counts[0, 6]) - 1, 2:]
    angle = math.radians(stop)
    assert end.tolist() == pytest.approx([x0 + rx * math.cos(angle), y0 + ry * math.sin(angle)], abs=1e-5)
    assert abs(start - stop) == 360
