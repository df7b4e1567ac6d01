"""The strongest patches against a sort of everything, ties and shards included."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.prototypes.layers.test_projection import Maps, identity
from zoo.prototypes.layers.patches import Strongest, _of_ranks, strongest_patches
from zoo.prototypes.layers.projection import NOWHERE
from zoo.training.projection_set import ProjectionSet


def search(maps: Tensor, count: int) -> list[list[tuple[float, int, int]]]:
    """(value, image, cell) of each prototype's strongest images, lowest numbers first among equals."""
    found = []
    for k in range(maps.shape[1]):
        best = []
        for i, one in enumerate(maps[:, k].flatten(1).tolist()):
            best.append((max(one), i, one.index(max(one))))
        found.append(sorted(best, key=lambda b: (-b[0], b[1]))[:count])
    return found


def as_lists(found: Strongest) -> list[list[tuple[float, int, int]]]:
    rows = zip(found.value.tolist(), found.index.tolist(), found.cell.tolist(), strict=True)
    return [list(zip(*row, strict=True)) for row in rows]


@given(
    seed=st.integers(0, 2**31),
    images=st.integers(1, 14),
    batch_size=st.integers(1, 6),
    count=st.integers(1, 5),
    levels=st.sampled_from([2, 3, 1000]),
)
def test_equals_the_search(seed: int, images: int, batch_size: int, count: int, levels: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    maps = torch.randint(0, levels, (images, 3, 2, 2), generator=draw).float()
    found = strongest_patches(ProjectionSet(Maps(maps, torch.zeros(images)), batch_size=batch_size), identity, count)
    assert as_lists(found) == search(maps, count)


class Share:
    """What one of several ranks sees, without a process group."""

    world = 1

    def __init__(self, maps: Tensor, rows: range) -> None:
        self.maps, self.rows = maps, rows

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for i in self.rows:
            yield {"input": self.maps[i][None], "index": torch.tensor([i])}


@pytest.mark.parametrize(("world", "images"), [(2, 12), (3, 12), (3, 4), (2, 1)])
def test_ranks_merge_to_what_one_process_finds(world: int, images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal values land on different ranks; with 4 images on 3 ranks, some have fewer than the 3 asked for."""
    maps = torch.randint(0, 3, (images, 4, 2, 3)).float()
    shares = [Share(maps, range(rank, images, world)) for rank in range(world) if rank < images]
    found = [strongest_patches(share, identity, 3) for share in shares]  # pyright: ignore[reportArgumentType]
    blanks = {"value": -torch.inf, "index": NOWHERE, "cell": -1}
    names = iter(blanks)

    def all_gather(parts: list[Tensor], mine: Tensor) -> None:
        name = next(names)
        for part, one in zip(parts, found, strict=True):
            have = getattr(one, name)
            part.fill_(blanks[name])[:, : have.shape[1]] = have
        assert any(mine.equal(part) for part in parts)

    monkeypatch.setattr("zoo.prototypes.layers.patches.dist.all_gather", all_gather)
    fewest = min(found, key=lambda one: one.value.shape[1])
    merged = _of_ranks(fewest, 3, len(found))
    assert as_lists(merged) == search(maps, 3)
