"""Archives of series: their file formats, one length for all, and normalisation by what was measured."""

from pathlib import Path

import pytest
import torch

from zoo.data import SeriesArchive
from zoo.domain import Domain
from zoo.domain.inputs import inputs_of, read

HEAD = "#about\n@problemName Toy\n@timeStamps false\n@classLabel true down up\n@data\n"


def archive(folder: Path, train: str, test: str, ending: str = "tsv", infix: str = "", **options: object):
    for split, text in (("TRAIN", train), ("TEST", test)):
        (folder / f"Toy{infix}_{split}.{ending}").write_text(text)
    return SeriesArchive("Toy", str(folder), **options)


def test_tab_separated_series(tmp_path: Path) -> None:
    lines = "".join(f"{(10, 2)[i % 2]}\t{i}\t{i + 1}\t{i + 2}\n" for i in range(10))
    data = archive(tmp_path, lines, "1.0e1\t5\t6\t7\n2\t1\t1\t1\n", step=0.25, unit="s")
    domain, test = data.make_domain(), data.items("test", False)
    assert domain.shape == (3, 1) and domain.variables == ("value",) and (domain.step, domain.unit) == (0.25, "s")
    assert domain.classes == ("2", "10")  # by value, not as words
    assert test.targets.tolist() == [1, 0] and test.name(1) == "Toy test 1"
    torch.testing.assert_close(domain.values(test.inputs)[0, :, 0], torch.tensor([5.0, 6, 7]))
    train = data.items("train", True).inputs
    torch.testing.assert_close(train.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(train.std(correction=0), torch.tensor(1.0))
    kept, held = data.train_dataset(), data.val_dataset()
    assert (len(kept), len(held)) == (8, 2)
    assert sorted(held[i]["target"].item() for i in range(2)) == [0, 1]  # one of each class


def test_series_of_several_variables(tmp_path: Path) -> None:
    text = HEAD + "".join(f"{i},{i + 1}:7,7:{'up' if i % 2 else 'down'}\n" for i in range(10))
    data = archive(tmp_path, text, HEAD + "1,2:7,8:up\n", "ts", "_eq")
    domain = data.make_domain()
    assert domain.shape == (2, 2) and domain.classes == ("down", "up")
    assert domain.variables == ("variable 1", "variable 2")
    assert domain.std[1] == 1  # of a variable that is constant in training, a change is not blown up
    torch.testing.assert_close(domain.values(data.items("test", False).inputs), torch.tensor([[[1.0, 7], [2, 8]]]))


def test_series_of_different_lengths(tmp_path: Path) -> None:
    train, test = HEAD + "1,3:2,2:up\n1:5:down\n", HEAD + "9:9:up\n1,2,3:4,5,6:down\n"
    with pytest.raises(ValueError, match="training series of Toy have different lengths, 1 to 2 steps; set uneven to"):
        archive(tmp_path, train, test, "ts").make_domain()
    data = archive(tmp_path, train, test, "ts", uneven="zero")
    domain = data.make_domain()
    assert domain.length == 2 and domain.uneven == "zero"
    assert domain.mean == pytest.approx((5 / 3, 3))  # of what was measured: two steps and one
    torch.testing.assert_close(
        domain.values(data.items("test", False).inputs),
        torch.tensor([[[9.0, 9], [5 / 3, 3]], [[1, 4], [2, 5]]]),
    )
    longer = archive(tmp_path, train, test, "ts", uneven="last", length=4)
    raw = longer.make_domain().values(longer.items("train", False).inputs)
    torch.testing.assert_close(raw[0, :, 0], torch.tensor([1.0, 3, 3, 3]))


def test_nan_at_the_end_fills_up_a_shorter_series(tmp_path: Path) -> None:
    data = archive(tmp_path, "1\t1\t2\t3\n2\t1\t2\tNaN\n", "1\t1\tNaN\tNaN\n", uneven="last")
    domain = data.make_domain()
    assert domain.mean == pytest.approx((9 / 5,))
    torch.testing.assert_close(domain.values(data.items("test", False).inputs)[0, :, 0], torch.ones(3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\t1\tx\n", r"Toy_TRAIN.tsv, line 1: could not convert .* expected numbers"),
        (
            "1\t1\n1\tNaN\t3\n",
            "line 2: missing or infinite values inside the series, or values beyond 32-bit floats; impute",
        ),
        ("1\tNaN\n", "line 1: missing or infinite"),
        ("1\t1\n2\t1\t2\n", "different lengths, 1 to 2 steps"),
        ("", "Toy_TRAIN.tsv is empty; expected a label and values"),
    ],
)
def test_faults_of_tab_separated_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        archive(tmp_path, text, "1\t1\n").make_domain()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@data\n", "has no series after a line '@data'"),
        ("1,2:up\n", "has no series after a line '@data'"),
        ("@data\n1,?,3:up\n", "line 2: missing or infinite values"),
        ("@data\n1,2:3:up\n", r"line 2: variables of \[2, 1\] steps; expected one or more, all of one length"),
        ("@data\n1,2:up\n1,2:3,4:up\n", r"line 3 has 2 variables; expected 1, as before"),
        ("@data\nup\n", r"line 2: variables of \[\] steps"),
        ("@timeStamps true\n@data\n(0,1):up\n", "line 1: '@timeStamps true'; expected class labels and no time stamps"),
        ("@classLabel false\n@data\n1,2\n", "line 1: '@classLabel false'; expected class labels"),
    ],
)
def test_faults_of_ts_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        archive(tmp_path, text, text, "ts").make_domain()


def test_splits_that_do_not_fit_each_other(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"Toy_TEST.tsv has labels that .* do not have: 3; the training labels are 1, 2"
    ):
        archive(tmp_path, "1\t1\n2\t1\n", "3\t1\n").make_domain()
    data = archive(tmp_path, "1\t1\n2\t1\n", "1\t1\n2\t1\t2\n")
    with pytest.raises(ValueError, match="Toy test 1: a series of 2 steps; expected 1"):
        data.items("test", False)


def test_the_test_file_of_a_model_is_explained(tmp_path: Path) -> None:
    """A model trained from Mine_TRAIN.tsv could not explain Mine_TEST.tsv."""
    for split, count in (("TRAIN", 6), ("TEST", 3)):
        lines = [f"{i % 2 + 1}\t{i}\t{i + 1}\t{2 * i}" for i in range(count)]
        (tmp_path / f"Mine_{split}.tsv").write_text("\n".join(lines) + "\n")
    data = SeriesArchive("Mine", str(tmp_path))
    domain = Domain.from_dict(data.domain)
    found = list(inputs_of([str(tmp_path / "Mine_TEST.tsv")], domain))
    assert len(found) == 3 and found[1].name == "Mine_TEST.tsv row 2"
    items = data.items("test", False)
    assert all(torch.equal(read(row, domain), items[i]["input"]) for i, row in enumerate(found))
    assert len(list(inputs_of([str(tmp_path)], domain))) == 9
    (tmp_path / "steps.tsv").write_text("time\tvalue\n0\t1\n1\t2\n2\t3\n")
    assert domain.values(domain.read(tmp_path / "steps.tsv"))[:, 0].tolist() == pytest.approx([1, 2, 3])


def test_files_are_found_by_their_whole_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Toy").mkdir()
    archive(tmp_path / "Toy", "1\t1\n2\t2\n", "1\t1\n")
    assert SeriesArchive("Toy", str(tmp_path)).make_domain().shape == (1, 1)
    (tmp_path / "series").mkdir()
    (tmp_path / "Toy").rename(tmp_path / "series" / "Toy")
    (tmp_path / "series").rename(tmp_path / "ucr")
    (tmp_path / "series").mkdir()
    (tmp_path / "ucr").rename(tmp_path / "series" / "ucr")
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    assert SeriesArchive("Toy").make_domain().shape == (1, 1)
    with pytest.raises(
        FileNotFoundError, match=r"no To_TRAIN.tsv, .ts or .arff in .*series/ucr.*give its folder as root"
    ):
        SeriesArchive("To")
    monkeypatch.delenv("ZOO_DATA")
    with pytest.raises(ValueError, match=r"give the folder that contains Toy as root, or set .* ZOO_DATA"):
        SeriesArchive("Toy")


@pytest.mark.parametrize(
    ("name", "shape", "classes", "count"),
    [
        ("GunPoint", (150, 1), ("1", "2"), 150),
        ("ArrowHead", (251, 1), ("0", "1", "2"), 175),
        ("BasicMotions", (100, 6), ("badminton", "running", "standing", "walking"), 40),
        ("JapaneseVowels", (25, 12), tuple("123456789"), 370),
    ],
)
def test_the_real_archives(zoo_data: Path, name: str, shape: tuple, classes: tuple, count: int) -> None:
    data = SeriesArchive(name)
    domain, test = data.make_domain(), data.items("test", False)
    assert domain.shape == shape and tuple(c.lower() for c in domain.classes) == classes
    assert test.inputs.shape == (count, *shape) and test.targets.unique().tolist() == list(range(len(classes)))
