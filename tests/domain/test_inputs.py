"""Raw inputs by name: files, folders, rows, texts."""

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.small_models import IMAGES, ROWS, SENTENCES
from zoo.domain import Domain
from zoo.domain.inputs import Literal, Row, inputs_of, last_change, modified, read, unique_stems


def test_every_domain_names_its_files() -> None:
    for kind in Domain.__subclasses__():
        assert kind.endings and all(ending == ending.lower() and ending[0] == "." for ending in kind.endings), kind


def test_folders_are_searched_for_what_the_domain_reads(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.PNG", "deep/a.png"):
        Image.new("L", (2, 2)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("good food")
    assert [p.name for p in inputs_of([str(tmp_path)], IMAGES)] == ["b.PNG", "a.png"]
    (text,) = inputs_of([str(tmp_path)], SENTENCES)
    assert text == tmp_path / "notes.txt" and read(text, SENTENCES).shape == SENTENCES.shape
    assert list(inputs_of([str(tmp_path)], ROWS)) == []


def test_texts_and_files(tmp_path: Path) -> None:
    (text,) = inputs_of(["good food."], SENTENCES)
    assert isinstance(text, Literal) and text.stem == "text" and modified(text) is None
    assert read(text, SENTENCES).tolist() == SENTENCES.preprocess("good food.").tolist()
    assert list(inputs_of(["no/such/file.txt"], SENTENCES)) == [Path("no/such/file.txt")]
    for name in ("review.pdf", str(tmp_path / "review.md")):
        with pytest.raises(
            ValueError, match=r"looks like a file; texts are read from \.csv, \.tsv, \.txt files, or given in quotes"
        ):
            list(inputs_of([name], SENTENCES))
    assert list(inputs_of(["x" * 5000], SENTENCES)) == ["x" * 5000]  # longer than any path


def test_rows_of_a_table_are_numbered(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("width,height,hue\n1,2,3\n4,5,six\n", encoding="utf-8")
    first, second = inputs_of([str(table)], ROWS)
    assert isinstance(first, Row) and (first.name, first.stem) == ("t.csv row 1", "t-row-1")
    assert read(first, ROWS).tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"t\.csv row 2: feature 'hue' must be a finite number; got 'six'"):
        read(second, ROWS)
    assert last_change(str(second)) == modified(table) is not None
    table.write_text("width,height,hue\n1,2,3\n", encoding="utf-8")
    assert list(inputs_of([str(table)], ROWS)) == [table]  # a table of one row is a file like any other


def test_a_text_for_another_domain() -> None:
    with pytest.raises(ValueError, match="a domain of images does not read 'good food'; give it a file"):
        read(Literal("good food"), IMAGES)


def test_pages_of_equal_names_get_numbers() -> None:
    paths = [Path("a/x.png"), Path("b/x.png"), Path("index.png")]
    assert list(unique_stems(paths).values()) == ["x", "x-2", "index-2"]


def test_linked_folders_are_searched_once(tmp_path: Path) -> None:
    """Linked subfolders vanished without an error."""
    (tmp_path / "store").mkdir()
    Image.new("L", (2, 2)).save(tmp_path / "store" / "a.png")
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "loop").symlink_to(tmp_path / "inputs")
    assert list(inputs_of([str(tmp_path / "inputs")], IMAGES)) == [tmp_path / "inputs" / "linked" / "a.png"]


def test_a_bad_table_is_one_input_whose_error_names_it(tmp_path: Path) -> None:
    """One unreadable table stopped all inputs, without naming the file."""
    (tmp_path / "a.csv").write_text("width,height,hue\n1,2,3\n4,5,6\n")
    for name, content, message in (
        ("latin.csv", "width,height,hue\n1,2,é\n".encode("latin-1"), r"latin\.csv, line 2 is not UTF-8 text"),
        ("extra.csv", b"width,height,hue\n1,2,3,4\n5,6,7\n", r"extra\.csv, line 2 has 4 cells; expected 3"),
        ("german.csv", b"width;height\n1;2\n", r"german\.csv: the row has no feature 'hue'; there are: width, height"),
    ):
        (tmp_path / name).write_bytes(content)
        found = list(inputs_of([str(tmp_path / "a.csv"), str(tmp_path / name)], ROWS))
        assert len(found) == 3
        with pytest.raises(ValueError, match=message):
            read(found[2], ROWS)


def test_pages_of_long_and_odd_names(tmp_path: Path) -> None:
    """A name of 251 letters left no room for ".html"; one that is not UTF-8 could not be written."""
    odd = Path(os.fsdecode(b"odd\xff\n.png"))
    files: list = [Path("x" * 251 + ".png"), Path("x" * 250 + ".png"), odd]
    stems = unique_stems(files)
    for file, begin in zip(files, ("x" * 50, "x" * 50, "odd__"), strict=True):
        assert re.fullmatch(rf"{begin}-[0-9a-f]{{8}}", stems[file])
    assert len(set(stems.values())) == 3 and unique_stems(files[::-1]) == stems  # by name, not by order
    first, second = Path("a/x.png"), Path("b/X.png")
    assert unique_stems([second], {str(first): "x"}) == {second: "X-2"}  # the page of an earlier call is kept
    assert unique_stems([first, second], {str(second): "x"}) == {first: "x-2", second: "x"}
