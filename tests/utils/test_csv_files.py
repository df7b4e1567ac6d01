"""CSV files: nothing is dropped without an error, and every error names the file and the line."""

import csv
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.utils.csv_files import LONGEST, read_records, read_table


def write(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "a,b\n1,x y\n\n2,z\n"),
        ("t.csv", "a;b\n1;x y\n\n2;z\n"),
        ("t.csv", "\ufeffa\tb\r\n1\tx y\r\n\r\n2\tz"),
        ("t.tsv", "a\tb\n1\tx y\n\n2\tz\n"),
        ("t.csv", '"a","b"\n"1","x y"\n , \n"2",z\n'),
        ("t.csv", "a , b\r1,x y\r\r2,z\r"),
    ],
)
def test_separators_line_ends_and_marks(tmp_path: Path, name: str, content: str) -> None:
    table = read_table(write(tmp_path, content, name), ["b", "a"])
    assert table.columns == ("a", "b")
    assert [row.cells for row in table.rows] == [{"a": "1", "b": "x y"}, {"a": "2", "b": "z"}]
    assert [row.line for row in table.rows] == [2, 4]
    assert table.rows[1].name == f"{name}, line 4" and table.rows[1].where == f"{tmp_path / name}, line 4"


def test_utf_16_of_spreadsheets(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "größe\tb\n1\té\n".encode("utf-16")))
    assert table.columns == ("größe", "b") and table.rows[0].cells["b"] == "é"


def test_quoted_line_breaks_count(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, 'a,b\n"one\ntwo",1\nx,"y ""z"", w"\n'))
    assert [(row.line, row.cells["a"]) for row in table.rows] == [(2, "one\ntwo"), (4, "x")]
    assert table.rows[1].cells["b"] == 'y "z", w'


def test_a_separator_inside_a_quoted_name(tmp_path: Path) -> None:
    assert read_table(write(tmp_path, '"a,b";c\n1;2\n')).columns == ("a,b", "c")
    assert read_table(write(tmp_path, "text\nsome words; more\n")).rows[0].cells == {"text": "some words; more"}


def test_long_cells_are_read_and_the_limit_is_restored(tmp_path: Path) -> None:
    """The csv module refuses fields of more than 131,072 characters."""
    before = csv.field_size_limit()
    assert len(read_table(write(tmp_path, "a,b\n1," + "x" * 200_000)).rows[0].cells["b"]) == 200_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3,4, 5\n", "t.csv, line 3 has 3 cells; expected 2, as in the first line"),
        ("a,b\n\n1\n", "t.csv, line 3 has 1 cells; expected 2"),
        ("a,c\n1,2\n", r"t.csv has no column 'b' \(found: a, c\); the first line must name"),
        ("", r"t.csv has no column 'b' \(found: nothing\)"),
        ("a,b,a\n1,2,3\n", "t.csv, line 1 names the column 'a' twice"),
        ("a,b\nx,1\nmünchen,2\n".encode("latin-1"), r"t.csv, line 3 is not UTF-8 text \(invalid start byte\); save"),
        ("a,b\n1,2\n".encode("utf-16-le"), "t.csv, line 1 contains NUL characters"),
        ('a,b\n1,2\n3,"4\n5,6\n', r"t.csv, line 3 cannot be read \(unexpected end of data\); check its double quotes"),
        ('a,b\n"1"x,2\n', r"t.csv, line 2 cannot be read \(',' expected after '\"'\); check its double quotes"),
        (b"a,b\n1," + b"x" * (LONGEST + 1), r"t.csv, line 2 cannot be read \(field larger than field limit"),
    ],
)
def test_faults_name_the_file_and_the_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(write(tmp_path, content), ["b"])


def test_what_is_not_a_regular_file_is_never_opened(tmp_path: Path) -> None:
    """Opening a pipe without a writer waits forever, and /dev/zero never ends."""
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match=r"pipe.csv is a named pipe, not a regular file; give a table"):
        read_table(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"zero.csv is a device"):
        read_table(tmp_path / "zero.csv")
    with pytest.raises(FileNotFoundError, match=r"no table at .*: it is a folder"):
        read_table(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no table of rows at .*none.csv"):
        read_table(tmp_path / "none.csv", what="table of rows")


def test_records_without_quotes(tmp_path: Path) -> None:
    path = write(tmp_path, 'say "no" "\t1\n"open\t0\n')
    assert [cells for _, cells in read_records(path, "\t", quotes=False)] == [['say "no" "', "1"], ['"open', "0"]]


CELL = st.text("aé,;\"\t\n '", max_size=5)


@given(st.lists(st.tuples(CELL, CELL), max_size=5), st.sampled_from([",", ";", "\t"]))
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, rows: list[tuple[str, str]], delimiter: str) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, delimiter=delimiter)
        writer.writerows([("first", "second"), *rows])
    kept = [row for row in rows if any(cell.strip() for cell in row)]
    assert [tuple(row.cells.values()) for row in read_table(path).rows] == kept
