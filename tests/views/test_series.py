"""Series on pages: lines over time, shades where units fire, and of groups what they saw."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import zoo
from tests.small_models import SERIES, build
from tests.views.pages import Read, explanation
from zoo.cli.main import main
from zoo.core.evidence import Unit
from zoo.domain import SeriesDomain
from zoo.views.html import page
from zoo.views.series import MARGIN, WIDTH, part, plot
from zoo.views.style import STYLE


def of(length: int = 11, variables: int = 2, **options: object) -> SeriesDomain:
    names = tuple(f"v{i}" for i in range(variables))
    return SeriesDomain(classes=("wren", "robin", "crow"), variables=names, length=length, **options)


def rectangles(path: str) -> list[tuple[float, float, float, float]]:
    """Left, top, width and height of each rectangle of a path."""
    return [tuple(map(float, m)) for m in re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)h-[\d.]+z", path)]


def test_lines_lie_in_their_panels_and_over_their_steps() -> None:
    values = torch.tensor([[0.0, 5], [1, 5], [4, 5]])
    svg = plot(values, of(3), "series", "s")
    lines = [[tuple(map(float, p.split(","))) for p in m.split()] for m in re.findall(r"points='([^']+)'", svg)]
    assert [x for x, _ in lines[0]] == pytest.approx([MARGIN + WIDTH * (i + 0.5) / 3 for i in range(3)])
    heights = [y for _, y in lines[0]]
    assert heights == sorted(heights, reverse=True) and heights == pytest.approx([82, 62, 2])
    assert len({y for _, y in lines[1]}) == 1 and min(y for _, y in lines[1]) > max(heights)
    assert ">4</text>" in svg and "<title>v1</title>" in svg


@pytest.mark.parametrize(
    ("length", "options", "ticks", "unit"),
    [
        (100, {}, [0, 20, 40, 60, 80], "step"),
        (100, {"step": 0.1, "unit": "s"}, [0, 2, 4, 6, 8], "s"),
        (11, {"step": 0.002, "unit": "s"}, [0, 0.005, 0.01, 0.015, 0.02], "s"),
        (1, {}, [0], "step"),
        (3, {}, [0, 1, 2], "step"),
    ],
)
def test_the_axis_tells_round_times(length: int, options: dict, ticks: list[float], unit: str) -> None:
    domain = of(length, **options)
    svg = plot(torch.randn(length, 2), domain, "series", "s")
    found = re.findall(r"class='tick' x='([\d.]+)' y='\d+'>([\d.]+)<", svg)
    assert [float(t) for _, t in found] == ticks
    across = WIDTH / length
    assert [float(x) for x, _ in found] == pytest.approx(
        [MARGIN + (t / domain.step + 0.5) * across for t in ticks], rel=1e-3
    )
    assert f">{unit}</text>" in svg


def test_long_series_keep_their_peaks_and_little_else() -> None:
    values = torch.zeros(100_003, 1)
    values[77_777], values[100_002] = 9.0, -9.0
    svg = plot(values, of(100_003, 1), "series", "s")
    heights = [float(p.split(",")[1]) for p in re.findall(r"points='([^']+)'", svg)[0].split()]
    assert min(heights) == 2 and max(heights) == 82 and len(heights) <= 3 * WIDTH


def test_shades_lie_where_the_unit_fires() -> None:
    domain = of(11, 2)
    support = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.5], [0.0, 1.0]])
    svg = part(support, domain, "unit", "s", patch=3)
    shades = {float(o): rectangles(p) for o, p in re.findall(r"class='fires' opacity='([\d.]+)' d='([^']+)'", svg)}
    step = WIDTH / 11
    assert list(shades) == [0.3, 0.6]
    (half,), (first, last) = shades[0.3], shades[0.6]
    assert first == pytest.approx((MARGIN, 0, 6 * step, 84), rel=1e-3)  # two cells as one
    assert half == pytest.approx((MARGIN + 6 * step, 90, 3 * step, 84), rel=1e-3)
    assert last == pytest.approx((MARGIN + 9 * step, 90, 2 * step, 84), rel=1e-3)  # the last cell has two steps
    (whole,) = rectangles(part(torch.tensor([0.0, 1.0]), domain, "unit", "s"))  # over time alone: all variables
    assert whole == pytest.approx((MARGIN + 6 * step, 0, 5 * step, 174), rel=1e-3)


def test_lines_look_the_same_where_they_are_used_again() -> None:
    """Rules of the page do not match inside of <use>, so all that lines need must be inherited or an attribute."""
    svg = plot(torch.randn(3, 2), of(3), "series", "s")
    assert svg.count("<polyline vector-effect='non-scaling-stroke'") == 2 and "polyline" not in STYLE
    (rule,) = re.findall(r"\.zoo \.series g,\.zoo \.series use\{([^}]+)\}", STYLE)
    assert {"fill:none", "stroke:var(--up)"} <= set(rule.split(";"))


def test_a_page_shows_of_a_group_what_it_saw() -> None:
    small = build("sop", "series")
    one = replace(small.model.explain(small.inputs[:1]), alternatives={})
    html = page(one, ["a"], top=3)
    Read(html)
    assert html.count("<polyline") == 2 and "processed alone" in html and "Shading" not in html
    for term in one.top(3)[0]:
        (path,) = re.findall(rf"<clipPath id='cut[0-9a-f]+-0-{term.index}'><path d='([^']*)'", html)
        covered = sum(width * tall for _, _, width, tall in rectangles(path)) / (84 * WIDTH / 11)
        steps = torch.tensor([3.0, 3, 3, 2])[:, None]  # of 11 steps in patches of three
        assert covered == pytest.approx(float((one.support[0, term.index] * steps).sum()), rel=1e-3)


def test_features_of_a_series_are_shaded() -> None:
    small = build("senn", "series")
    one = replace(small.model.explain(small.inputs[:1]), alternatives={})
    html = page(one, ["a"], top=2)
    Read(html)
    assert "Shading shows where a unit is active" in html
    for term, path in zip(one.top(2)[0], re.findall(r"class='fires' opacity='0.6' d='([^']+)'", html), strict=True):
        (cell,) = one.support[0, term.index].nonzero().tolist()
        ((left, top, _, _),) = rectangles(path)
        assert (left, top) == pytest.approx((MARGIN + 3 * cell[0] * WIDTH / 11, 90 * cell[1]), rel=1e-3)


def test_units_that_fire_over_time_alone() -> None:
    units = tuple(Unit(f"shape {k}", "prototype") for k in range(3))
    support = torch.zeros(1, 3, 4)
    support[:, :, 1] = 1
    changes = {"domain": of(8), "inputs": torch.randn(1, 8, 2), "units": units, "support": support}
    one = replace(explanation(rows=1, units=3), **changes)
    html = page(one, ["a"], top=3)
    Read(html)
    assert html.count("<path class='fires'") == 3 and "<image" not in html


def test_names_are_escaped() -> None:
    domain = SeriesDomain(classes=("a",), variables=("<b>&'",), length=2, unit="<s>")
    svg = plot(torch.randn(2, 1), domain, "series", "s") + part(torch.ones(2), domain, "unit", "s")
    assert "<b>" not in svg and "<s>" not in svg and svg.count("&lt;s&gt;") == 2


def test_series_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    checkpoint = zoo.save(build("sop", "series").model, tmp_path / "sop")
    file, out = tmp_path / "a.csv", tmp_path / "out"
    rows = [f"{p},{q}" for p, q in torch.randn(SERIES.length, 2).tolist()]
    file.write_text("\n".join(["pulse,pressure", *rows]))
    command = ["explain", "--checkpoint", str(checkpoint), "--input", str(file), "--output", str(out)]
    assert main(command) == 0
    html = (out / "a.html").read_text()
    assert "pressure" in html and html.count("<polyline") == 2 and (out / "a.json").is_file()
    file.write_text("\n".join(["pulse,pressure", *rows[:5]]))
    assert main(command) == 2
    assert "a.csv: a series of 5 steps; expected 11" in capsys.readouterr().err


def test_what_a_selector_read_is_shaded_on_the_series() -> None:
    small = build("behaviour_mask", "patches")
    explanation = small.model.explain(small.inputs)[0]
    (figure,) = re.findall(r"<figure class='input series'>.*?</figure>", page(explanation, ["s"]), re.S)
    (shaded,) = re.findall(r"<path class='fires'[^>]* d='([^']*)'", figure)
    assert "<figcaption>selected</figcaption>" in figure and shaded.count("M") <= int(explanation.activation.sum())
