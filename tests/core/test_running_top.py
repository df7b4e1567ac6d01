"""The running top against a sort of everything, ties and shards included."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo.core import running_top as module
from zoo.core.running_top import NOWHERE, TopActivating, running_top


def search(maps: Tensor, count: int) -> list[list[tuple[float, int, int]]]:
    """(value, input, cell) of each unit's top inputs, lowest numbers first among equals."""
    found = []
    for k in range(maps.shape[1]):
        best = []
        for i, one in enumerate(maps[:, k].flatten(1).tolist()):
            best.append((max(one), i, one.index(max(one))))
        found.append(sorted(best, key=lambda b: (-b[0], b[1]))[:count])
    return found


def as_lists(found: TopActivating | None) -> list[list[tuple[float, int, int]]]:
    assert found is not None
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
    batches = zip(maps.split(batch_size), torch.arange(images).split(batch_size), strict=True)
    assert as_lists(running_top(batches, count)) == search(maps, count)


def test_units_without_a_map_have_no_cell() -> None:
    activation = torch.tensor([[0.0, 3.0], [2.0, 3.0], [1.0, 4.0]])
    found = running_top([(activation[:2], torch.tensor([0, 1])), (activation[2:], torch.tensor([2]))], 2)
    assert as_lists(found) == [[(2.0, 1, -1), (1.0, 2, -1)], [(4.0, 2, -1), (3.0, 0, -1)]]
    assert running_top([], 2) is None


@pytest.mark.parametrize(("world", "images"), [(2, 12), (3, 12), (3, 4), (2, 1)])
def test_ranks_merge_to_what_one_process_finds(world: int, images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal values land on different ranks; with 4 images on 3 ranks, some have fewer than the 3 asked for."""
    maps = torch.randint(0, 3, (images, 4, 2, 3)).float()
    seen = [range(rank, images, world) for rank in range(world) if rank < images]
    found = [running_top([(maps[list(rows)], torch.tensor(list(rows)))], 3) for rows in seen]
    blanks = {"value": -torch.inf, "index": NOWHERE, "cell": -1}
    names = iter(blanks)

    def all_gather(parts: list[Tensor], mine: Tensor) -> None:
        name = next(names)
        for part, one in zip(parts, found, strict=True):
            have = getattr(one, name)
            part.fill_(blanks[name])[:, : have.shape[1]] = have
        assert any(mine.equal(part) for part in parts)

    monkeypatch.setattr(module.dist, "all_gather", all_gather)
    fewest = min(found, key=lambda one: one.value.shape[1])
    merged = module._over_ranks(fewest, 3, len(found))
    assert as_lists(merged) == search(maps, 3)
