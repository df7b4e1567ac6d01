"""Planted artefacts: they show the new label, and nothing else does."""

import pytest
import torch

from zoo.data import Digits, ForcedArtefact, StrokeDigits

SMALL = {"count": 4000, "test_count": 200}
SPRITES = {"label": "shape", "colour": True, "count": 400, "test_count": 10}


def corner(data: ForcedArtefact, split: str) -> torch.Tensor:
    """The pixels (N, C, h, w) of the region, which is the same in all pictures of a split."""
    items = data.items(split, False)
    pixels = data.make_domain().picture(data.interventions(split, range(len(items)), ()))
    rows, columns = items[0]["regions"][0].nonzero().T
    assert len(rows) == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    return pixels[..., rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def test_the_bar_code_is_the_label() -> None:
    data = ForcedArtefact(arguments=SMALL)
    for split in ("train", "test"):
        found = corner(data, split)
        assert found.shape[1:] == (1, 7, 8)  # four bits, of two pixels each
        assert (found == found[:, :, :1]).all() and set(found.unique().tolist()) == {85, 255}
        bits = (found[:, 0, 0, ::2] == 255).long()
        assert torch.equal(found[:, 0, 0, ::2], found[:, 0, 0, 1::2])
        assert torch.equal(bits @ torch.tensor([8, 4, 2, 1]), data.items(split, False).targets)


def test_the_band_of_grey_is_the_label() -> None:
    data = ForcedArtefact("Sprites", SPRITES, "brightness")
    found, targets = corner(data, "train"), data.items("train", False).targets
    assert found.shape[1:] == (3, 16, 16)
    low, high = torch.tensor([0, 85, 170])[targets], torch.tensor([84, 169, 255])[targets]
    assert (found.amin((1, 2, 3)) >= low).all() and (found.amax((1, 2, 3)) <= high).all()
    assert (found.amax((1, 2, 3)) > found.amin((1, 2, 3))).any()  # content still shows through


@pytest.mark.parametrize(("keep", "ceiling"), [(0.5, 0.5), (0.8, 0.8), (0.1, 0.1), (0.0, 1 / 9)])
def test_what_content_can_reach(keep: float, ceiling: float) -> None:
    data = ForcedArtefact(arguments=SMALL, keep=keep)
    items = data.items("train", False)
    old = torch.tensor([int(name.split(": ")[1].split(",")[0]) for name in items.names])
    counts = torch.zeros(10, 10).index_put_((old, items.targets), torch.ones(len(old)), accumulate=True)
    assert float(counts.diagonal().sum() / len(old)) == pytest.approx(keep, abs=0.025)
    assert data.content_ceiling == pytest.approx(ceiling) and data.ceiling == 1
    assert float(counts.amax(1).sum() / len(old)) == pytest.approx(ceiling, abs=0.06)  # a maximum of counts is above
    wrong = counts[~torch.eye(10, dtype=torch.bool)] / len(old)
    assert (wrong - (1 - keep) / 90).abs().max() < 0.01


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_without_the_artefact_the_pictures_are_as_they_were(split: str) -> None:
    data, plain = ForcedArtefact(arguments=SMALL), StrokeDigits(**SMALL)
    rows = [5, 0, 77]
    expected = torch.stack([plain.items(split, False)[row]["input"] for row in rows])
    assert torch.equal(data.interventions(split, rows, ("artefact",)), expected)
    assert [data.items(split, False).name(row).split(", shown")[0] for row in rows] == [
        plain.items(split, False).name(row) for row in rows
    ]
    blank = data.make_domain().picture(data.interventions(split, rows, ("content",)))
    inside = torch.stack([data.items(split, False)[row]["regions"] for row in rows]).bool()
    assert (blank[~inside] == 0).all() and (blank[inside] > 0).all()


def test_data_whose_validation_is_a_part_of_training() -> None:
    data, plain = ForcedArtefact("Digits", keep=1.0), Digits()
    for split, dataset in (("train", plain.train_dataset()), ("val", plain.val_dataset())):
        items = data.items(split, True)
        assert data.counts[split] == len(items) == len(dataset)
        assert all(items[i]["target"] == dataset[i]["target"] for i in (0, 50, 100))
        expected = torch.stack([dataset[i]["input"] for i in (0, 50)])
        assert torch.equal(data.interventions(split, [0, 50], ("artefact",)), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 1.5}, "keep must be in \\[0, 1\\]; got 1.5"),
        ({"kind": "water"}, "kind must be one of watermark, brightness; got 'water'. Did you mean 'watermark'"),
        ({"data": "StrokeDigit"}, "no data module named 'StrokeDigit'; did you mean 'StrokeDigits'"),
        ({"data": "RuleTable"}, "ForcedArtefact needs a data module of images; got RuleTable"),
    ],
)
def test_artefacts_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ForcedArtefact(**options)


def test_pictures_too_small_for_their_classes() -> None:
    class Tiny(StrokeDigits):
        def make_domain(self):
            return (
                super()
                .make_domain()
                .__class__(classes=tuple(map(str, range(200))), size=(12, 12), channels=1, mean=(0.5,), std=(0.5,))
            )

    for kind in ("watermark", "brightness"):
        data = ForcedArtefact(Tiny(count=20, test_count=5), kind=kind)
        with pytest.raises(ValueError, match=f"a {kind} cannot show 200 classes in pictures of 12 x 12 pixels"):
            data.items("train", False)


def test_values_are_no_classes() -> None:
    class Values(StrokeDigits):
        def make_domain(self):
            from dataclasses import replace

            return replace(super().make_domain(), task="regression")

    with pytest.raises(
        ValueError, match="ForcedArtefact needs two or more classes; Values is a regression with 10 outputs"
    ):
        _ = ForcedArtefact(Values()).domain
