"""Series: files, normalisation, and lengths that differ."""

from pathlib import Path

import pytest
import torch

from tests.small_models import SERIES
from zoo.domain import Domain, SeriesDomain


def of(**options: object) -> SeriesDomain:
    return SeriesDomain(**{"classes": ("a",), "variables": ("x", "y"), "length": 4, **options})


def written(folder: Path, *lines: str) -> Path:
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    return folder / "a.csv"


def test_a_file_becomes_an_input_and_comes_back(tmp_path: Path) -> None:
    domain = of(length=2, mean=(1, 0), std=(2, 4), step=0.5, unit="s")
    path = written(tmp_path, "time,y,x", "0,8,3", "1,-4,1")
    assert domain.read(path).tolist() == [[1, 2], [0, -1]]
    assert domain.values(domain.read(path)).tolist() == [[3, 8], [1, -4]]
    assert Domain.from_dict(domain.to_dict()) == domain
    assert domain.example(3, torch.Generator()).shape == (3, 2, 2)


def test_series_of_other_lengths() -> None:
    values = torch.tensor([[1.0, 0], [2, 4]])
    long = torch.arange(14.0).view(7, 2)
    fit = {how: of(uneven=how, mean=(1, 0), std=(1, 2)) for how in ("zero", "last", "resample")}
    assert fit["zero"].preprocess(values).tolist() == [[0, 0], [1, 2], [0, 0], [0, 0]]
    assert fit["last"].preprocess(values).tolist() == [[0, 0], [1, 2], [1, 2], [1, 2]]
    expected = torch.stack([torch.linspace(0, 1, 4), torch.linspace(0, 2, 4)], 1)
    torch.testing.assert_close(fit["resample"].preprocess(values), expected)
    torch.testing.assert_close(fit["resample"].preprocess(values[:1]), torch.zeros(4, 2))
    for how in ("zero", "last"):
        assert torch.equal(fit[how].preprocess(long), fit[how].normalise(long[:4]))
    ends = fit["resample"].values(fit["resample"].preprocess(long))[[0, -1]]
    torch.testing.assert_close(ends, long[[0, -1]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(4, 3), r"a series is \(steps, 2\), a column for each of x, y; got \(4, 3\)"),
        (torch.zeros(4), r"a series is \(steps, 2\).*; got \(4,\)"),
        (torch.zeros(3, 2), "a series of 3 steps; expected 4. Truncate, pad or resample it, or .* option `uneven`"),
        (torch.tensor([[0.0, 0], [0, torch.inf], [0, 0], [0, 0]]), "step 2 of 'y' is NaN or infinite"),
    ],
)
def test_values_that_do_not_fit(values: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of().preprocess(values)


@pytest.mark.parametrize("how", ["zero", "last", "resample"])
def test_a_series_without_steps_is_refused_however_lengths_are_treated(how: str) -> None:
    with pytest.raises(ValueError, match="a series of 0 steps; expected 4"):
        of(uneven=how).preprocess(torch.zeros(0, 2))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["pulse,presure", "1,2"], "has no variable 'pressure'; did you mean 'presure'"),
        (["pulse,pressure", "1,2"], r"a.csv: a series of 1 steps; expected 11"),
        (["pulse,pressure"], r"a.csv: a series of 0 steps; expected 11"),
        (["pulse,pressure", "1,2", "1,high"], "line 3: 'pressure' must be a finite number; got 'high'"),
        (["pulse,pressure", "1,nan"], "line 2: 'pressure' must be a finite number"),
        (["pulse,pressure", "1"], "line 2 has 1 cells; expected 2"),
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
        ({"step": 0.0}, "step must be a time above 0; got 0.0"),
        ({"uneven": "pad"}, "uneven must be one of refuse, zero, last, resample, recent; got 'pad'"),
    ],
)
def test_domains_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of(**options)


def test_arrays_are_read_like_tables(tmp_path: Path) -> None:
    import numpy as np

    domain = SeriesDomain(classes=("a", "b"), variables=("u", "v"), length=3, mean=(1.0, 0.0), std=(2.0, 1.0))
    values = np.arange(6.0).reshape(3, 2)
    np.save(tmp_path / "a.npy", values)
    (tmp_path / "a.csv").write_text("u,v\n" + "\n".join(f"{u},{v}" for u, v in values))
    assert domain.read(tmp_path / "a.npy").equal(domain.read(tmp_path / "a.csv"))
    one = SeriesDomain(classes=("a", "b"), variables=("u",), length=3)
    np.save(tmp_path / "one.npy", np.array([1, 2, 3]))
    assert one.read(tmp_path / "one.npy").flatten().tolist() == [1, 2, 3]
    for name, content, message in (
        ("wide", np.zeros((3, 5)), r"wide.npy has shape \(3, 5\); expected \(steps, 2\)"),
        ("gap", np.full((3, 2), np.nan), "gap.npy has .*values that are NaN, infinite, or beyond"),
        ("words", np.array([["a", "b"]]), "words.npy has values of type <U1; expected real numbers"),
        ("pickle", np.array([[{}, {}]], dtype=object), "pickle.npy is not an NPY file of plain numbers"),
    ):
        np.save(tmp_path / f"{name}.npy", content, allow_pickle=True)
        with pytest.raises(ValueError, match=message):
            domain.read(tmp_path / f"{name}.npy")


def test_archives_of_arrays_and_false_sizes(tmp_path: Path) -> None:
    """An NPZ named .npy gave an AttributeError; a header of a huge array asked for all memory."""
    import numpy as np

    domain = SeriesDomain(classes=("a", "b"), variables=("u",), length=3)
    with (tmp_path / "z.npy").open("wb") as opened:
        np.savez(opened, x=np.zeros(3))
    with pytest.raises(ValueError, match=r"z\.npy is not an NPY file of plain numbers"):
        domain.read(tmp_path / "z.npy")
    np.save(tmp_path / "a.npy", np.zeros((3, 1)))
    content = (tmp_path / "a.npy").read_bytes().replace(b"(3, 1)", b"(9999999999, 1)")
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npy is not an NPY file of plain numbers"):
        domain.read(tmp_path / "a.npy")
    np.save(tmp_path / "big.npy", np.full((3, 1), 1e39))
    with pytest.raises(ValueError, match=r"big\.npy has values that are NaN, infinite, or beyond 32-bit floats"):
        domain.read(tmp_path / "big.npy")


def test_numbers_beyond_32_bits(tmp_path: Path) -> None:
    """1e39 is finite in 64 bits only."""
    domain = SeriesDomain(classes=("a", "b"), variables=("u",), length=2, std=(1e-3,))
    (tmp_path / "a.csv").write_text("u\n1\n1e39\n")
    with pytest.raises(ValueError, match=r"a\.csv, line 3: 'u' must be within the range of 32-bit floats"):
        domain.read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("u\n1\n1e38\n")
    with pytest.raises(ValueError, match=r"step 2 of 'u' is 9\.99.*e\+37, which overflows when it is normalised"):
        domain.read(tmp_path / "a.csv")
