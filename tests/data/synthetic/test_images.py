"""The promises of every synthetic benchmark of images."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.data import DecoyDigits, ForcedArtefact, Sprites, StrokeDigits, SwitchingPanels
from zoo.data.synthetic.images import RenderedBenchmark, over
from zoo.domain import Domain

SMALL = {"count": 60, "test_count": 20}
DIGITS = {**SMALL, "seed": 5}
BENCHMARKS = {
    "digits": (StrokeDigits, SMALL),
    "boxes": (SwitchingPanels, SMALL),
    "strokes": (SwitchingPanels, {"regions": "strokes", **SMALL}),
    "colour": (DecoyDigits, {"kind": "colour", **SMALL}),
    "corner": (DecoyDigits, {"kind": "corner", **SMALL}),
    "sprites": (Sprites, {"colour": True, **SMALL}),
    "lone sprites": (Sprites, {"label": "shape", "other": False, **SMALL}),
    "watermark": (ForcedArtefact, {"arguments": DIGITS}),
    "brightness": (ForcedArtefact, {"kind": "brightness", "arguments": DIGITS}),
}
ROWS = [3, 0, 11, 3]


def benchmark(name: str, **other: int) -> RenderedBenchmark:
    kind, arguments = BENCHMARKS[name]
    return kind(**{**arguments, **other})


@pytest.mark.parametrize("name", BENCHMARKS)
def test_items_fit_the_domain(name: str) -> None:
    data = benchmark(name, batch_size=16)
    domain = Domain.from_dict(data.domain)
    for split, loader in (("train", data.train_dataloader()), ("val", data.val_dataloader())):
        batch = next(iter(loader))
        count = min(16, data.counts[split])
        assert batch["input"].shape == (count, *domain.shape) and bool(batch["input"].isfinite().all())
        assert batch["target"].max() < len(domain.classes) and batch["target"].dtype == torch.long
        assert batch["regions"].shape == (count, len(data.factors), *domain.shape[1:])
        assert batch["regions"].dtype == torch.float and batch["regions"].unique().tolist() == [0, 1]
        assert not domain.concepts or batch["concepts"].shape == (count, len(domain.concepts))
    assert data.counts == {"train": 60, "val": 6, "test": 20} or isinstance(data, ForcedArtefact)
    for split, count in data.counts.items():
        items = data.items(split, False)
        assert len(items) == count == len({items.name(i) for i in range(count)})


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_nothing_removed_is_the_inputs_themselves(name: str, split: str) -> None:
    data = benchmark(name)
    rows = [row % data.counts[split] for row in ROWS]
    items = data.items(split, False)
    found = torch.stack([items[row]["input"] for row in rows])
    assert torch.equal(data.interventions(split, rows, ()), found)
    assert torch.equal(data.interventions(split, torch.tensor(rows), []), found)
    whole = items.__getitems__(rows)
    assert all(torch.equal(whole[k]["regions"], items[row]["regions"]) for k, row in enumerate(rows))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_factor_lies_in_its_region(name: str) -> None:
    data, rows = benchmark(name), list(range(40))
    items = data.items("train", False)
    regions = torch.stack([items[row]["regions"] for row in rows])
    whole = data.interventions("train", rows, ())
    for r, factor in enumerate(data.factors):
        changed = (data.interventions("train", rows, (factor,)) != whole).any(1)
        # Pressing black pixels into the darkest band changes none.
        assert changed.flatten(1).any(1).all() or name == "brightness", factor
        if (name, factor) != ("colour", "digit"):  # which becomes a disc
            assert not (changed & (regions[:, r] == 0)).any(), factor
    everything = data.interventions("train", rows, data.removable)
    assert (everything == everything[:1]).all()  # nothing is left to tell one picture from another


@pytest.mark.parametrize("name", BENCHMARKS)
def test_pictures_follow_from_the_seed(name: str) -> None:
    first, again, other = benchmark(name), benchmark(name), benchmark(name, seed=1)
    drawn = [data.items("train", True) for data in (first, again, other)]
    rows = list(range(40))
    inputs = [torch.stack([item["input"] for item in items.__getitems__(rows)]) for items in drawn]
    assert torch.equal(inputs[0], inputs[1]) and torch.equal(drawn[0].targets, drawn[1].targets)
    assert not torch.equal(drawn[0].targets, drawn[2].targets) and not torch.equal(inputs[0], inputs[2])
    test = first.items("test", False)
    assert not torch.equal(test.targets, drawn[0].targets[:20]) and not torch.equal(test[0]["input"], inputs[0][0])


@pytest.mark.parametrize(
    ("split", "rows", "remove", "message"),
    [
        ("tset", [0], (), "split must be one of train, val, test; got 'tset'. Did you mean 'test'\\?"),
        ("test", [20], (), "split 'test' has rows 0 to 19; got 20"),
        ("test", [], (), "rows must name at least one item; got none"),
        ("test", [-1], (), "split 'test' has rows 0 to 19; got -1"),
        ("test", [0], ["distracter"], "no removable factor named 'distracter'; did you mean 'distractor'\\?"),
        ("test", [0], "object", "no removable factor named 'object'; there are: digit, distractor"),
    ],
)
def test_interventions_that_cannot_be(split: str, rows: list[int], remove: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        benchmark("boxes").interventions(split, rows, remove)


@pytest.mark.parametrize("kind", [StrokeDigits, SwitchingPanels, DecoyDigits, Sprites])
def test_too_few_pictures(kind: type) -> None:
    with pytest.raises(ValueError, match="count must be at least 10; got 9"):
        kind(count=9)
    with pytest.raises(ValueError, match="test_count must be at least 1; got 0"):
        kind(test_count=0)


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_paint_is_a_weighted_mean(below: int, ink: int, alpha: int) -> None:
    found = over(torch.tensor(below, dtype=torch.uint8), torch.tensor(ink, dtype=torch.uint8), torch.tensor(alpha))
    assert abs(float(found) - (below * (255 - alpha) + ink * alpha) / 255) <= 0.5
