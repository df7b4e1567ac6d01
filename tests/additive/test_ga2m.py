"""GA2M: scores looked up in its curves by hand, what it recovers, and edits that can be undone."""

import bisect
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

import zoo
from zoo.additive.ga2m import GA2M
from zoo.cli.edit import still_read
from zoo.cli.main import main
from zoo.core.curves import Axis
from zoo.data import Table
from zoo.domain import Domain, TableDomain
from zoo.training.projection_set import ProjectionSet


def frame(rows: int = 1500, seed: int = 0) -> pd.DataFrame:
    """y depends on a smooth and a linear effect, a category, and a product."""
    draw = torch.Generator().manual_seed(seed)
    a, b, c = (torch.rand(rows, generator=draw) * 4 - 2 for _ in range(3))
    job = torch.randint(3, (rows,), generator=draw)
    y = (2 * a).sin() + 0.5 * b + torch.tensor([-1.0, 0.0, 1.5])[job] + 0.8 * a * c
    y = y + 0.1 * torch.randn(rows, generator=draw)
    columns = {"a": a, "b": b, "c": c, "y": y}
    table = pd.DataFrame({name: value.double().numpy() for name, value in columns.items()})
    table["job"] = [("clerk", "none", "pilot")[j] for j in job.tolist()]
    table.loc[::50, "b"] = float("nan")
    table["label"] = ["low" if v < 0 else "high" for v in y.tolist()]
    table["three"] = [("low", "middle", "high")[(v > -0.7) + (v > 0.7)] for v in y.tolist()]
    return table


def fitted(target: str | list[str], **options: object) -> tuple[GA2M, Table]:
    others = [name for name in ("y", "label", "three") if name not in target]
    data = Table(frame(), target=target, leave_out=others, batch_size=512)
    model = GA2M(data.domain, **options)  # type: ignore[arg-type]
    model.solve(ProjectionSet(data.projection_dataset(), batch_size=512))
    return model.eval(), data


def entry(axis: Axis, cell: str) -> int:
    """The entry of an axis that a raw value belongs to."""
    if axis.kind == "levels" or cell in axis.labels:
        return axis.numbers + axis.labels.index(cell)
    return bisect.bisect_right(axis.places, float(cell))


@pytest.mark.parametrize("target", ["y", "label", "three"])
def test_scores_are_sums_of_entries_of_curves(target: str) -> None:
    model, data = fitted(target, pairs=2, bins=16, pair_bins=8)
    domain = Domain.from_dict(data.domain)
    assert isinstance(domain, TableDomain)
    curves = model.curves()
    used = [curve for curve, unit in zip(curves, model.units(), strict=True) if not unit.source]
    explanation = model.explain(data.test_dataset().inputs[:20]).check()
    bias = model.evidence(data.test_dataset().inputs[:1]).state["bias"][0]
    for x, scores in zip(data.test_dataset().inputs[:20], explanation.scores, strict=True):
        cells, expected = domain.cells(x), bias.double().clone()
        for curve in used:
            place = tuple(entry(axis, cells[axis.column]) for axis in curve.axes)
            expected += curve.values[place].double()
        assert torch.allclose(scores.double(), expected, atol=1e-4)
    assert [curve.unit for curve in curves] == [unit.name for unit in model.units()]
    for curve in used:  # every table has the mean 0 over the training rows
        assert float(curve.density.sum()) == pytest.approx(1, abs=1e-5)
        assert (curve.density[..., None] * curve.values).flatten(0, -2).sum(0).abs().max() < 1e-3


def test_curves_and_the_pair_are_recovered() -> None:
    model, data = fitted("y", pairs=1)
    curves = {curve.unit: curve for curve in model.curves()}
    assert list(curves) == ["a", "b", "c", "job", "a x c"]
    pair = curves["a x c"]
    a, c = (_middles(axis) for axis in pair.axes)
    product, side, _ = _purified(0.8 * a[:, None] * c, pair.density)
    assert _r2(pair.values[..., 0].flatten(), product.flatten(), pair.density.flatten()) > 0.98
    main = _middles(curves["a"].axes[0])
    merged = torch.bucketize(main, torch.tensor(pair.axes[0].places), right=True)
    assert _r2(curves["a"].values[:, 0], (2 * main).sin() + side[merged], curves["a"].density) > 0.98
    levels = curves["job"].values[1:, 0]
    assert torch.allclose(levels[1:] - levels[0], torch.tensor([1.0, 2.5]), atol=0.1)
    assert curves["a"].error is not None and 0 < float(curves["a"].error.mean()) < 0.1
    scores = model(data.test_dataset().inputs)[:, 0].detach()
    assert _r2(scores, data.test_dataset().targets[:, 0], torch.ones_like(scores)) > 0.98


def _middles(axis: Axis) -> Tensor:
    """The middle of each bin of a number in [-2, 2]."""
    edges = torch.tensor([-2.0, *axis.places, 2.0])
    return (edges[1:] + edges[:-1]) / 2


def _purified(table: Tensor, density: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A table without its main effects, and these, by turns."""
    sides = [torch.zeros(len(table)), torch.zeros(table.shape[1])]
    for _ in range(200):
        for axis in (0, 1):
            mean = (table * density).sum(1 - axis) / density.sum(1 - axis).clamp_min(1e-12)
            sides[axis] += mean
            table = table - (mean[:, None] if axis == 0 else mean)
    return table, *sides


def _r2(found: Tensor, true: Tensor, weight: Tensor) -> float:
    centre = [v - (v * weight).sum() / weight.sum() for v in (found, true)]
    return 1 - float((weight * (centre[0] - centre[1]).square()).sum() / (weight * centre[1].square()).sum())


def test_several_values_and_unused_pairs() -> None:
    data = Table(frame().assign(z=lambda t: t.y * 2), target=["y", "z"], leave_out=["label", "three"])
    model = GA2M(data.domain, pairs=6, bins=16)
    model.solve(ProjectionSet(data.projection_dataset(), batch_size=256))
    scores = model.eval()(data.test_dataset().inputs)
    assert torch.allclose(2 * scores[:, 0], scores[:, 1], atol=0.05)
    assert len(model.units()) == 10


def test_edits_are_saved_and_undone(tmp_path: Path) -> None:
    model, data = fitted("label", pairs=1, bins=16)
    x = data.test_dataset().inputs[:50]
    edits = [{"unit": "job", "remove": True}, {"unit": "b", "monotone": "increasing"}]
    changed = model.edited(edits)
    assert changed.explain(x).contributions[:, 3].abs().max() == 0  # type: ignore[index]
    curve = next(c for c in changed.curves() if c.unit == "b")
    assert bool((curve.values[: curve.axes[0].numbers, 0].diff() * model.domain.classes.index("low") <= 1e-6).all())
    zoo.save(changed, tmp_path / "edited")
    loaded = zoo.load(tmp_path / "edited")
    assert list(map(dict, loaded.edits)) == edits and torch.equal(loaded(x), changed(x))
    assert torch.equal(loaded.edited([])(x), model(x))
    with pytest.raises(ValueError, match="edit 1: no unit named 'jbo'; did you mean 'job'"):
        model.edited([{"unit": "jbo", "remove": True}])


def test_the_command_edits_and_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame().to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "c.yaml").write_text(
        "model: {class_path: GA2M, init_args: {pairs: 1, bins: 16}}\n"
        f"data: {{class_path: Table, init_args: {{path: {tmp_path / 't.csv'}, leave_out: [y, three]}}}}\n"
    )
    folder = tmp_path / "run"
    assert main(["fit", "--config", str(tmp_path / "c.yaml"), "--output", str(folder)]) == 0
    (tmp_path / "e.yaml").write_text("- {unit: job, remove: true}\n")
    common = ["edit", "--checkpoint", str(folder / "checkpoint"), "--output", str(tmp_path / "edited")]
    assert main([*common, "--edits", str(tmp_path / "e.yaml")]) == 0
    out = capsys.readouterr().out
    assert "auroc" in out and "1 edits; saved" in out and "note:" not in out
    assert main(common) == 2 and "edit needs --edits FILE, or --undo" in capsys.readouterr().err
    back = ["edit", "--checkpoint", str(tmp_path / "edited"), "--config", str(folder / "config.yaml"), "--undo"]
    assert main([*back, "--output", str(tmp_path / "undone")]) == 0
    x = torch.randn(4, *zoo.load(folder / "checkpoint").domain.shape)
    assert torch.equal(zoo.load(tmp_path / "undone")(x), zoo.load(folder / "checkpoint")(x))
    again = ["--edits", str(tmp_path / "e.yaml"), "--refit", "--output", str(tmp_path / "again")]
    assert main([*common[:3], *again]) == 0 and "fitted again" in capsys.readouterr().out
    refitted = zoo.load(tmp_path / "again")
    assert refitted.hparams["held"] == [{"unit": "job", "remove": True}] and not refitted.edits


@pytest.mark.parametrize("target", [["y"], ["label"], ["three"], ["y", "c"]])
def test_refit_holds_edited_curves_and_fits_the_others_again(target: list[str]) -> None:
    """A column beside the removed one that is correlated with it takes over its effect."""
    table = frame(800)
    table["like_b"] = table["b"].fillna(0) + 0.3 * table["a"]
    data = Table(table, target, leave_out=[n for n in ("y", "label", "three") if n not in target], batch_size=800)
    rows = ProjectionSet(data.projection_dataset(), batch_size=800)
    model = GA2M(data.domain, pairs=2, bins=16, pair_bins=8)
    model.solve(rows)
    pair = model.effects.names()[len(model.place)]
    edits = [{"unit": "b", "remove": True}, {"unit": pair, "remove": True}]
    changed = model.eval().edited(edits)
    again = changed.refit(rows)
    (batch,) = rows
    losses = [
        one.losses(one(batch["input"]), one.evidence(batch["input"]), batch)["task"].item()
        for one in (model, changed, again)
    ]
    assert losses[0] < losses[2] < losses[1]
    before, after = ({curve.unit: curve for curve in one.curves()} for one in (changed, again))
    for name, curve in before.items():
        held = name == pair or "b" in name.split(" x ") or not curve.axes[0].column
        assert (float((curve.values - after[name].values).abs().max()) < 1e-6) == held
    assert again.edits == () and [edit["unit"] for edit in again.hparams["held"]] == ["b", pair]
    again.explain(batch["input"][:4]).check()
    with pytest.raises(ValueError, match="there are no edits to hold"):
        model.refit(rows)


def test_monotone_curves_hold_everywhere() -> None:
    model, data = fitted("label", pairs=3, bins=64, monotone={"a": "decreasing"})
    rows = data.test_dataset().inputs[:1].expand(100_000, -1).clone()
    rows[:, 0] = torch.linspace(-4, 4, len(rows))
    score = model(rows).detach().diff()[:, 0]
    assert bool((score.diff() <= 0).all()) and float(score[0] - score[-1]) > 0.1
    assert not any("a x" in unit.name for unit in model.units())


def test_removed_columns_that_still_count_in_pairs_are_named() -> None:
    model, _ = fitted("label", pairs=1, bins=16)
    (name,) = [unit.name for unit in model.units() if unit.kind == "pair"]
    column = name.split(" x ")[0]
    alone, both = [{"unit": column, "remove": True}], [{"unit": u, "remove": True} for u in (column, name)]
    (note,) = still_read(model.edited(alone), alone)
    assert f"'{column}' is removed by itself, but still counts in {name}" in note
    assert still_read(model.edited(both), both) == []


def test_what_is_refused() -> None:
    data = Table(frame(200), target="label", leave_out=["y", "three"])
    with pytest.raises(ValueError, match="bins must be at least 2"):
        GA2M(data.domain, bins=1)
    model = GA2M(data.domain)
    with pytest.raises(RuntimeError, match="GA2M is not fitted yet"):
        model.explain(data.test_dataset().inputs[:2])
    for wrong, message in (
        ({"aa": "increasing"}, "monotone names the column 'aa'; did you mean 'a'"),
        ({"a": "up"}, "monotone: a must be one of increasing, decreasing; got 'up'"),
        ({"job": "increasing"}, "monotone needs columns of numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            GA2M(data.domain, monotone=wrong)
