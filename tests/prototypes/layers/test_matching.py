"""Points of an image in a bank of others, against plain loops and by hand."""

import pytest
import torch
from torch import Tensor

from zoo.prototypes.layers.matching import foreground, keypoints, mutual_nearest


def pairs_by_loop(queries: Tensor, others: Tensor, query_mask: Tensor, other_mask: Tensor) -> list[tuple[int, int]]:
    """Mutual nearest neighbours of one image, by two loops in fp64 and nothing else."""

    def nearest(x: Tensor, among: Tensor, mask: Tensor) -> int:
        best, found = float("inf"), -1
        for j in range(len(among)):
            distance = float(((x - among[j]) ** 2).sum())
            if mask[j] and distance < best:
                best, found = distance, j
        return found

    queries, others, pairs = queries.double(), others.double(), []
    for i in range(len(queries)):
        j = nearest(queries[i], others, other_mask) if query_mask[i] else -1
        if j >= 0 and nearest(others[j], queries, query_mask) == i:
            pairs.append((i, j))
    return pairs


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("chunk", [16384, 7, 5])
def test_mutual_nearest_neighbours_are_those_of_a_double_loop(masked: bool, chunk: int) -> None:
    queries, others = torch.randn(3, 9, 4), torch.randn(23, 4)
    query_mask, other_mask = torch.rand(3, 9) < (0.5 if masked else 2), torch.rand(23) < (0.5 if masked else 2)
    query_mask[2] &= not masked  # an image without foreground matches nothing
    number, distance, mutual = mutual_nearest(queries, others, query_mask, other_mask, chunk)
    for b in range(3):
        found = [(i, int(number[b, i])) for i in mutual[b].nonzero()[:, 0].tolist()]
        assert found == pairs_by_loop(queries[b], others, query_mask[b], other_mask)
        assert len(found) > 0 or (masked and b == 2)
        for i, j in found:
            assert distance[b, i].item() == pytest.approx(((queries[b, i] - others[j]) ** 2).sum().item(), rel=1e-4)


def test_of_equal_vectors_the_lowest_number_is_the_nearest() -> None:
    others = torch.eye(3)[[0, 1, 1, 0]]
    for chunk in (1, 2, 4):
        number, distance, mutual = mutual_nearest(torch.eye(3)[None, [1, 0, 0]], others, chunk=chunk)
        assert number.tolist() == [[1, 0, 0]] and distance.tolist() == [[0, 0, 0]]
        assert mutual.tolist() == [[True, True, False]]


def test_foreground_by_hand() -> None:
    along = torch.tensor([[0.0, 1.0, 2.0, 3.0]])  # mean 1.5, standard deviation 1.118
    patches = torch.stack([along + 10, torch.randn(1, 4)], 2)
    axis, centre = torch.tensor([1.0, 0.0]), torch.tensor([10.0, 0.0])
    assert foreground(patches, axis, centre, 0.2).tolist() == [[False, False, True, True]]
    assert foreground(patches, axis, centre, 0.5).tolist() == [[False, False, False, True]]
    assert foreground(patches, -axis, centre, 0.2).tolist() == [[True, True, False, False]]


def test_every_point_is_a_keypoint_where_there_are_few() -> None:
    points, valid = torch.randn(3, 8, 2), torch.zeros(3, 8, dtype=torch.bool)
    valid[0, [1, 5]] = valid[1, [0, 2, 7]] = True
    for weight in (None, torch.rand(3, 8)):
        assert torch.equal(keypoints(points, torch.rand(3, 8), valid, 3, weight), valid)


@pytest.mark.parametrize("nearest", [True, False])
def test_one_keypoint_of_each_far_cluster(nearest: bool) -> None:
    """The nearest to the centre, as published, or that of largest weight; it was always the latter."""
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = (centres[:, None] + torch.randn(3, 5, 2) / 10).flatten(0, 1)
    weight, valid = torch.rand(15), torch.ones(15, dtype=torch.bool)
    valid[weight[:5].argmax()] = False  # the heaviest of the first cluster is no match
    expected = [int(k * 5 + weight.masked_fill(~valid, -1)[k * 5 : k * 5 + 5].argmax()) for k in range(3)]
    if nearest:
        own = points.unflatten(0, (3, 5)), valid.unflatten(0, (3, 5))
        means = torch.stack([p[v].mean(0) for p, v in zip(*own, strict=True)])
        distance = (points - means.repeat_interleave(5, 0)).norm(dim=1).masked_fill(~valid, torch.inf)
        expected = [int(k * 5 + distance[k * 5 : k * 5 + 5].argmin()) for k in range(3)]
    order = torch.randperm(15)
    given = None if nearest else weight[None, order]
    found = keypoints(points[None, order], weight[None, order], valid[None, order], 3, given)[0]
    assert sorted(order[found].tolist()) == sorted(expected)


@pytest.mark.parametrize("count", [1, 4, 20])
def test_there_are_never_more_keypoints_than_asked_for(count: int) -> None:
    points = torch.randn(4, 12, 3).round()  # with points that coincide
    valid = torch.rand(4, 12) < 0.7
    valid[3] = False
    found = keypoints(points, torch.rand(4, 12), valid, count)
    assert (found.sum(1) <= count).all() and not (found & ~valid).any()
    assert (found.any(1) == valid.any(1)).all()
