"""Figures for print: bars that are the contributions, boxes in the input, names that are text."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.small_models import SMALL
from zoo.core.explanation import Explanation

pytest.importorskip("matplotlib")


def explained(name: str, count: int = 2) -> Explanation:
    torch.manual_seed(0)
    small = SMALL[name]()
    return small.model.eval().explain(small.inputs[:count])


@pytest.mark.parametrize("name", SMALL)
def test_every_model_has_a_figure(name: str, tmp_path: Path) -> None:
    explanation = explained(name)
    drawn = explanation.figure()
    drawn.savefig(tmp_path / "why.png", dpi=40)
    assert (tmp_path / "why.png").stat().st_size > 2000
    bars = [axes for axes in drawn.axes if axes.patches]
    assert len(bars) == len(explanation)
    for one, axes in zip(explanation, bars, strict=True):
        assert one.target_names[0] in axes.get_title(loc="left")
        widths = [bar.get_width() for bar in axes.patches]
        if one.contributions is not None:
            assert sum(widths) + one.bias.item() == pytest.approx(one.relative_score.item(), abs=2e-2)
            assert "evidence =" in axes.get_xlabel()
        else:
            assert "not additive" in axes.get_xlabel()


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_saved_for_print(kind: str, tmp_path: Path) -> None:
    explained("protopnet").figure(top=3).savefig(tmp_path / f"why.{kind}")
    assert (tmp_path / f"why.{kind}").stat().st_size > 5000


def test_names_are_text_and_too_many_rows_are_refused(tmp_path: Path) -> None:
    explanation = explained("cem", 1)
    units = tuple(replace(unit, name=f"$\\frac{{{unit.name}}} <b>{'long ' * 20}") for unit in explanation.units)
    replace(explanation, units=units).figure().savefig(tmp_path / "odd.png", dpi=40)
    small = SMALL["cem"]()
    many = small.model.eval().explain(small.inputs[:1].repeat(11, *[1] * (small.inputs.ndim - 1)))
    with pytest.raises(ValueError, match="at most 10 inputs; got 11"):
        many.figure()
