"""Sprites: their areas, their places, and that no two shapes give one picture."""

import math

import pytest
import torch

from zoo.data import Sprites
from zoo.data.synthetic.sprite_drawing import REACH, SCALES, TURNS, places, sprites
from zoo.data.synthetic.sprites import LABELS, SHAPES

AREAS = {  # of scale 1, by their formulas; that of a heart's curve is 3.66197...
    "square": 16.4**2,
    "ellipse": math.pi * 11 * 6.5,
    "heart": 3.661972723 * 8.6**2,
    "triangle": 16.5**2 / math.sqrt(3),
    "ring": math.pi * (11.25**2 - 7.75**2),
}


@pytest.mark.parametrize("kind", range(5), ids=list(AREAS))
def test_areas_and_reach(kind: int) -> None:
    count = 240
    scale, turn = torch.arange(count) % 6, torch.arange(count) % TURNS
    centre = torch.tensor([[31.3, 20.8]]).expand(count, 2)
    covered = sprites(torch.full((count,), kind), scale, turn, centre)
    sizes = torch.tensor(SCALES)[scale]
    area = covered.float().sum((1, 2)) / 255
    expected = list(AREAS.values())[kind] * sizes**2
    assert ((area / expected - 1).abs() < 0.05).all() and float((area / expected).mean()) == pytest.approx(1, abs=0.01)
    x, y = torch.arange(64) - 31.3, torch.arange(64) - 20.8
    away = (x.square() + y.square()[:, None]).sqrt()
    assert float((away * (covered > 0)).max()) < REACH + 0.8  # the pixel's own half diagonal
    if list(AREAS)[kind] not in ("heart",):  # whose centre of mass is off its centre
        middle = torch.stack([(covered * x).sum((1, 2)), (covered * y[:, None]).sum((1, 2))]) / covered.float().sum(
            (1, 2)
        )
        assert middle.abs().max() < 0.15


def test_shapes_and_scales_never_look_alike() -> None:
    """All pictures of a shape, moved by whole pixels, are one of 5 x 6 x 40 x 4 x 4; none is of two shapes or scales.

    The places' step is 5/4 of a pixel, so that there are four places within a pixel, along each side.
    """
    grid = torch.cartesian_prod(torch.arange(5), torch.arange(6), torch.arange(TURNS), torch.arange(4), torch.arange(4))
    kind, scale, turn, column, row = grid.T
    centres = REACH - 0.5 + (torch.stack([column, row], 1) + 0.5) * 1.25
    seen: dict[tuple[int, bytes], tuple[int, int]] = {}
    for picture, fact in zip(sprites(kind, scale, turn, centres).numpy(), grid[:, :2].tolist(), strict=True):
        rows, columns = picture.any(1).nonzero()[0], picture.any(0).nonzero()[0]
        box = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert seen.setdefault((box.shape[1], box.tobytes()), tuple(fact)) == tuple(fact)
    assert len(seen) > 5 * 6 * 10 * 16 // 2


def test_places() -> None:
    first, second = places(4000, torch.Generator().manual_seed(0))
    assert ((first - second).square().sum(1).sqrt() >= 2 * REACH + 2 - 1e-3).all()
    for centres in (first, second):
        assert centres.min() >= REACH - 0.5 and centres.max() <= 64 - REACH - 0.5
        assert (centres - 31.5).abs().min() > 0.5  # in no doubt of its quadrant
    assert len(first[:, 0].unique()) == 32 and (first.mean(0) - 31.5).abs().max() < 1
    crowded, away = places(500, torch.Generator().manual_seed(0), tries=1)
    assert ((crowded - away).square().sum(1).sqrt() >= 2 * REACH).all()


@pytest.mark.parametrize("colour", [False, True])
def test_concepts_say_what_is_to_be_seen(colour: bool) -> None:
    data = Sprites(colour=colour, count=300, test_count=10)
    domain, items = data.make_domain(), data.items("train", False)
    assert domain.channels == (3 if colour else 1) and ("colour" in domain.concept_groups) == colour
    assert domain.exclusive == tuple(domain.concept_groups) and data.concept_labels().shape == (
        300,
        len(domain.concepts),
    )
    pixels = domain.picture(data.interventions("train", range(300), ("other",)))
    for i, item in enumerate(items.__getitems__(list(range(300)))):
        true = [name for name, value in zip(domain.concepts, item["concepts"].tolist(), strict=True) if value]
        assert len(true) == len(domain.concept_groups)
        facts = dict(name.split(" is ") for name in true)
        assert domain.classes[item["target"]] == f"{facts['shape']}, {facts['quadrant']}"
        rows, columns = item["regions"][0].nonzero().T
        if facts["shape"] != "heart":
            middle = (float(rows.float().mean()), float(columns.float().mean()))
            where = ("upper" if middle[0] < 31.5 else "lower", "left" if middle[1] < 31.5 else "right")
            assert facts["quadrant"] == " ".join(where)
        assert len(rows) > AREAS[facts["shape"]] * float(facts["scale"]) ** 2
        if colour:
            red, green, blue = pixels[i].flatten(1).amax(1).tolist()
            known = {"red": red > 150 > green, "blue": blue > 150, "yellow": green > 190, "green": 190 > green > red}
            assert known[facts["colour"]]


def test_shape_alone() -> None:
    data = Sprites("shape", count=300, test_count=10)
    items = data.items("train", False)
    assert data.make_domain().classes == SHAPES == LABELS["shape"] and data.ceiling == 1
    assert all(SHAPES[items.targets[i]] in items.name(i) for i in range(300))
    whole, alone = (data.interventions("train", range(300), remove) for remove in ((), ("other",)))
    assert ((whole != alone).flatten(1).any(1)).all()
    lone = Sprites("shape", other=False, count=300, test_count=10)
    assert torch.equal(lone.interventions("train", range(300), ()), alone)


def test_labels_that_do_not_exist() -> None:
    with pytest.raises(
        ValueError, match=r"label must be one of shape, shape_quadrant; got 'shapes'\. Did you mean 'shape'"
    ):
        Sprites("shapes")
