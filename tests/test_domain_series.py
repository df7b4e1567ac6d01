"""Series: files, normalisation, and the pages that show them."""

import re
from pathlib import Path

import pytest
import torch

from tests.small_models import SERIES, of_series
from zoo.data import SeriesArchive
from zoo.domain import Domain, SeriesDomain
from zoo.encoders import create_encoder
from zoo.views.html import page


def written(folder: Path, *lines: str) -> Path:
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    return folder / "a.csv"


def test_a_file_becomes_an_input_and_comes_back(tmp_path: Path) -> None:
    domain = SeriesDomain(classes=("a",), variables=("x", "y"), length=2, mean=(1, 0), std=(2, 4))
    path = written(tmp_path, "time,y,x", "0,8,3", "1,-4,1")
    assert domain.read(path).tolist() == [[1, 2], [0, -1]]
    assert domain.values(domain.read(path)).tolist() == [[3, 8], [1, -4]]
    assert Domain.from_dict(domain.to_dict()) == domain
    assert domain.example(3, torch.Generator()).shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["pulse,presure", "1,2"], "has no variable 'pressure'; did you mean 'presure'"),
        (["pulse,pressure", "1,2"], "has 1 steps; expected 11, one line each after the header"),
        (["pulse,pressure", "1,2", "1,high"], "line 3: 'pressure' must be a finite number; got 'high'"),
        (["pulse,pressure", "1,nan"], "line 2: 'pressure' must be a finite number"),
        (["pulse,pressure", "1"], "line 2: 'pressure' must be a finite number; got None"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SERIES.read(written(tmp_path, *lines))
    with pytest.raises(FileNotFoundError, match=r"no series at .*none.csv"):
        SERIES.read(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variables": ("x", "x")}, "variables must be one or more different names"),
        ({"length": 0}, "length must be at least 1; got 0"),
        ({"std": (1.0, 0.0)}, "std above 0"),
    ],
)
def test_domains_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SeriesDomain(**{"classes": ("a",), "variables": ("x", "y"), "length": 3, **options})


def test_the_encoder_reads_around_each_step_and_pools_by_the_mean() -> None:
    encoder = create_encoder({"name": "convnet1d", "widths": [6], "kernels": [4]}, SERIES).eval()
    x = torch.randn(2, 11, 2)
    assert encoder.states(x).shape == (2, 11, 6)
    torch.testing.assert_close(encoder(x), encoder.states(x).mean(1))
    changed = x.clone()
    changed[:, 5] += 1
    touched = (encoder.states(changed) != encoder.states(x)).any(2).any(0)
    assert touched.nonzero().flatten().tolist() == [3, 4, 5, 6]
    with pytest.raises(ValueError, match=r"as many numbers above 0; got \[6\] and \[4, 3\]"):
        create_encoder({"name": "convnet1d", "widths": [6], "kernels": [4, 3]}, SERIES)
    with pytest.raises(ValueError, match="the backbone of a series is 'convnet1d'; got 'mlp'"):
        create_encoder("mlp", SERIES)


def archive(folder: Path, **files: str) -> SeriesArchive:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return SeriesArchive("Toy", str(folder))


def test_both_formats_of_the_archives(tmp_path: Path) -> None:
    lines = "".join(f"{1 + i % 2}\t{i}\t{i + 1}\t{i + 2}\n" for i in range(10))
    data = archive(tmp_path, Toy_TRAIN__tsv=lines, Toy_TEST__tsv="2.0\t5\t6\t7\n")
    domain = data.make_domain()
    assert domain.shape == (3, 1) and domain.classes == ("1", "2") and domain.variables == ("value",)
    test = data.items("test", False)
    assert test.targets.tolist() == [1]
    torch.testing.assert_close(domain.values(test.inputs)[0, :, 0], torch.tensor([5.0, 6, 7]))
    (tmp_path / "ts").mkdir()
    head = "#about\n@problemName Toy\n@data\n"
    text = head + "".join(f"{i},{i + 1}:0,{i}:{'up' if i % 2 else 'down'}\n" for i in range(10))
    data = archive(tmp_path / "ts", Toy_eq_TRAIN__ts=text, Toy_eq_TEST__ts=head + "1,2:3,4:up\n")
    assert data.make_domain().shape == (2, 2) and data.make_domain().classes == ("down", "up")
    raw = data.make_domain().values(data.items("test", False).inputs)
    torch.testing.assert_close(raw, torch.tensor([[[1.0, 3], [2, 4]]]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\t1\t2\n2\t1\n", "series of different lengths, 1 to 2 steps; cut, pad or resample"),
        ("1\t1\tx\n", "Toy_TRAIN.tsv, line 1: could not convert .* expected numbers"),
        ("1\t1\tNaN\n", "line 1: missing or infinite values"),
    ],
)
def test_archives_with_faults(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        archive(tmp_path, Toy_TRAIN__tsv=text).make_domain()
    with pytest.raises(FileNotFoundError, match=r"no Gun_TRAIN.tsv or .ts in .*give its folder as root"):
        SeriesArchive("Gun", str(tmp_path)).make_domain()


def test_the_real_archives(zoo_data: Path) -> None:
    for name, shape, count in (("GunPoint", (150, 1), 150), ("JapaneseVowels", (25, 12), 370)):
        data = SeriesArchive(name)
        assert data.make_domain().shape == shape and len(data.items("test", False)) == count


def test_a_page_shows_each_variable_and_of_a_group_what_it_saw() -> None:
    small = of_series("sop", groups=3, size=0.4)
    explanation = small.model.explain(small.inputs[:1])
    html = page(explanation, ["a"], top=3)
    assert html.count("<polyline") == 2 + 3 * 2 * 2  # the input; a faded and a clipped line of each group
    for term in explanation.top(3)[0]:
        for v in range(2):
            (path,) = re.findall(rf"<clipPath id='cut[0-9a-f]+-0-{term.index}-{v}'><path d='([^']*)'", html)
            assert path.count("M") == int(explanation.support[0, term.index, :, v].sum())
