"""The moments at which a fit is killed, and the comparison of what is left."""

import torch

from benchmarks.kill import Moment, moments, same, temporary, title, within


def test_half_of_the_moments_are_inside_writes() -> None:
    found = moments(24, 12.0, 16)
    timed = [moment.seconds for moment in found if moment.seconds is not None]
    assert timed == [i + 0.5 for i in range(12)]
    assert {moment.write for moment in found if moment.seconds is None} <= set(range(1, 17))
    assert len(moments(3, 1.0, 5)) == 3 and Moment(write=1) in moments(3, 1.0, 5)


def test_tensors_are_compared_by_their_bits() -> None:
    nan, zero = torch.tensor([torch.nan]), torch.zeros(1)
    assert same(nan, nan.clone()) and not same(zero, -zero) and not same(zero, zero.double()) and not same(zero, None)
    content = {"state": [{"step": zero}, (nan, 3)], "epoch": 1}
    assert [place for place, _ in within(content, "last.ckpt")] == ["last.ckpt state 0 step", "last.ckpt state 1 0"]


def test_temporary_files_are_told_from_the_others(tmp_path) -> None:
    for name in ("last.ckpt", "last.ckpt.part", ".lock", ".run.json.x1y2", ".checkpoint.new-ab"):
        (tmp_path / name).touch()
    found = temporary(tmp_path)
    assert found == {"last.ckpt.part", ".run.json.x1y2", ".checkpoint.new-ab"}
    assert sorted(map(title, found)) == ["checkpoint", "last.ckpt", "run.json"]
    assert temporary(tmp_path / "none") == set()
