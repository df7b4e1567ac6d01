"""SST-2: texts and labels, and an error with file and line for a malformed one."""

from pathlib import Path

import pytest

from zoo.data import SST2


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no train.tsv in"):
        SST2(str(tmp_path)).make_domain()
    (tmp_path / "train.tsv").write_text("good film\t1\nbad film 0\n")
    with pytest.raises(
        ValueError, match=r"train.tsv, line 2: expected a sentence, a tab, and 0 or 1; got 'bad film 0'"
    ):
        SST2(str(tmp_path)).make_domain()


def test_the_real_set(zoo_data: Path) -> None:
    sst = SST2()
    assert [len(sst.splits[s].texts) for s in ("train", "val", "test")] == [6920, 872, 1821]
