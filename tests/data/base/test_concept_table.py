"""Concepts that the user annotated: what is read, and every mistake with what is said about it."""

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.real.test_image_folder import fill, picture, table
from zoo.data import ImageFolder
from zoo.domain import Domain

CLASSES = ("blue", "red")
GROUPS = {"wing": ["long wing", "short wing"], "beak": ["hooked"]}
HEADER = "path,long wing,short wing,hooked"


def rows(count: int = 10) -> list[str]:
    """Blue ones are long-winged, every other one is hooked; nobody annotated the beak of number 3."""
    return [
        f"{c}/{c}{i}.png,{int(c == 'blue')},{int(c == 'red')},{'' if i == 3 else i % 2}"
        for c in CLASSES
        for i in range(count)
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return fill(tmp_path / "birds", 10)


def read(root: Path, lines: list[str] | None = None, header: str = HEADER, **settings: Any) -> ImageFolder:
    file = table(root.parent / "concepts.csv", header, *(rows() if lines is None else lines))
    return ImageFolder(str(root), concepts=file, size=(4, 6), **settings)


def refused(error: type[Exception], message: str, data: ImageFolder) -> None:
    """The error comes with the domain, that is, before a model is built."""
    with pytest.raises(error, match=message):
        _ = data.domain


# What is read


def test_every_split_has_its_own_concepts(root: Path) -> None:
    data = read(root, list(reversed(rows())), concept_groups=GROUPS, exclusive=["wing"])
    domain = Domain.from_dict(data.domain)
    assert domain.concepts == ("long wing", "short wing", "hooked")
    assert domain.group_columns() == {"wing": [0, 1], "beak": [2]} and domain.exclusive == ("wing",)
    parts = [data.train_dataset(), data.val_dataset(), data.test_dataset()]
    assert sum(len(part) for part in parts) == 20
    for part in parts:
        for i in range(len(part)):
            colour, number = part.name(i).split("/")[0], int(part.name(i)[-5])
            long, short, hooked = part[i]["concepts"].tolist()
            assert (long, short) == (colour == "blue", colour == "red")
            assert math.isnan(hooked) if number == 3 else hooked == number % 2


def test_labels_of_the_training_images_and_batches(root: Path) -> None:
    data = read(root)
    found, part = data.concept_labels(), data.train_dataset()
    assert torch.equal(found.nan_to_num(9), torch.stack([part[i]["concepts"] for i in range(len(part))]).nan_to_num(9))
    assert next(iter(data.train_dataloader()))["concepts"].shape == (len(part), 3)


def test_folders_by_split_in_any_order_of_the_table(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 2), ("test", 1)):
        fill(tmp_path / "birds" / split, count)
    lines = [
        f"{split}/{c}/{c}{i}.png,{int(c == 'red')},{int(split == 'test')}"
        for i in (3, 2, 1, 0)
        for split, count in (("test", 1), ("val", 2), ("train", 4))
        for c in CLASSES
        if i < count
    ]
    with pytest.warns(UserWarning, match="concept 'tested' is 0 in every training image"):
        data = read(tmp_path / "birds", lines, "path,is red,tested")
        parts = {"train": data.train_dataset(), "val": data.val_dataset(), "test": data.test_dataset()}
    for split, part in parts.items():
        for i in range(len(part)):
            assert part[i]["concepts"].tolist() == ["red" in part.name(i), split == "test"]


def test_one_file_for_images_and_concepts(root: Path) -> None:
    lines = [f"{c}/{c}{i}.png,{c}ish,{i % 2}" for c in CLASSES for i in range(6)]
    file = table(root.parent / "all.csv", "path,label,odd", *lines)
    data = ImageFolder(str(root), csv=file, concepts=file)
    assert data.domain["concepts"] == ["odd"] and data.domain["classes"] == ["blueish", "redish"]
    part = data.test_dataset()
    assert all(part[i]["concepts"].item() == int(part.name(i)[-5]) % 2 for i in range(len(part)))


def test_as_spreadsheets_and_programs_write_them(root: Path) -> None:
    """Byte order mark, quoted names with commas and line breaks, empty lines, decimals, nan, odd paths."""
    lines = ["", *rows(), " , , , "]
    lines[1] = "blue/../blue/blue0.png,1.0, 0 ,NaN"
    file = table(root.parent / "c.csv", 'path,"wing, long",b,"c\nd"', *lines, encoding="utf-8-sig")
    data = ImageFolder(str(root), concepts=file)
    assert data.domain["concepts"] == ["wing, long", "b", "c\nd"]
    items = {part.name(i): part[i] for part in (data.train_dataset(), data.test_dataset()) for i in range(len(part))}
    if "blue/blue0.png" in items:
        assert str(items["blue/blue0.png"]["concepts"].tolist()) == "[1.0, 0.0, nan]"
    labels = data.pictures("train", "none").concepts, data.pictures("test", "none").concepts
    assert int(torch.cat(labels).isnan().sum()) == 3  # two beaks of number 3, and this one


def test_groups_from_a_table(root: Path) -> None:
    lines = ("wing,long wing", "beak,hooked", "wing,short wing")
    file = table(root.parent / "groups.csv", "group,concept", *lines)
    assert read(root, concept_groups=file).domain["concept_groups"] == {k: list(v) for k, v in GROUPS.items()}


def test_images_that_are_there_but_not_read_need_no_row(root: Path) -> None:
    picture(root.parent / "elsewhere.png")
    assert len(read(root, [*rows(), "../elsewhere.png,1,0,1"]).domain["concepts"]) == 3


# Mistakes in the table


def test_images_that_are_not_there(root: Path) -> None:
    lines = [*rows(), "blue/blue77.png,1,0,1", "red/gone.png,0,1,1"]
    message = r"concepts\.csv lists 2 images \(line 22: blue/blue77\.png; line 23: red/gone\.png\) not in .*birds\. C"
    refused(FileNotFoundError, message, read(root, lines))


def test_images_without_a_row(root: Path) -> None:
    lines = [row for row in rows() if "red7" not in row]
    message = (
        r"concepts\.csv has no row for 1 image \(red/red7\.png\) in .*birds\. Add rows \(with empty cells where not"
    )
    refused(ValueError, message, read(root, lines))
    refused(ValueError, r"has no row for 17 images \(.*; \.\.\.\)", read(root, rows()[:3]))


@pytest.mark.parametrize("cell", ["2", "yes", "-1", "0.5", "inf", "1e999"])
def test_values_that_are_neither_0_nor_1(root: Path, cell: str) -> None:
    lines = rows()
    lines[4] = f"blue/blue4.png,1,0,{cell}"
    message = rf"concepts\.csv, line 6: concept 'hooked' is '{cell}'; expected 1 \(present\), 0 \(absent\) or an empty"
    refused(ValueError, message, read(root, lines))


@pytest.mark.parametrize("again", ["blue/blue1.png", "red/../blue/blue1.png", "./blue//blue1.png"])
def test_duplicate_rows(root: Path, again: str) -> None:
    message = r"concepts\.csv, lines 3 and 22 are both of .*blue1\.png; keep one of them"
    refused(ValueError, message, read(root, [*rows(), f"{again},1,0,1"]))


def test_line_numbers_count_line_breaks_in_names_and_empty_lines(root: Path) -> None:
    lines = rows()
    lines[2:3] = ["", "blue/blue2.png,1,0,7"]
    refused(ValueError, "line 6: concept 'hooked' is '7'", read(root, lines, 'path,"long\nwing",short wing,hooked'))


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        ("file,a,b,c", "", r"has no column 'path' \(found: file, a, b, c\); the first line must name the columns"),
        ("path;a;b;c", "", "line 3 has 1 cells; expected 4"),
        ("path,a,b,a", "", "line 1 names the column 'a' twice; every column needs its own name"),
        ("path,a,,c", "", "line 1: a column without a name"),
        (HEADER, "blue/blue0.png,1,0", "line 2 has 3 cells; expected 4, as in the first line"),
        (HEADER, "blue/blue0.png,1,0,1,1", "line 2 has 5 cells; expected 4"),
        (HEADER, ",1,0,1", "line 2: path is empty; name the image, or remove the row"),
    ],
)
def test_table_that_cannot_be_right(root: Path, header: str, line: str, message: str) -> None:
    refused(ValueError, rf"concepts\.csv.*{message}", read(root, [line, *rows()[1:]], header))


@pytest.mark.parametrize("header", ["path", "path,label,split"])
def test_a_table_without_concepts(root: Path, header: str) -> None:
    lines = [",".join(row.split(",")[: header.count(",") + 1]) for row in rows()]
    refused(
        ValueError, r"concepts\.csv has no concepts; add a column for each, with 1, 0 or", read(root, lines, header)
    )


def test_no_table_or_no_text(root: Path) -> None:
    data = ImageFolder(str(root), concepts=str(root / "none.csv"))
    refused(FileNotFoundError, r"no concept table at .*none\.csv", data)
    data = read(root)
    data.concepts.write_bytes("path,größe\nblue/blue0.png,1\n".encode("latin-1"))
    refused(ValueError, r"concepts\.csv, line 1 is not UTF-8 text \(.*\); save the file as UTF-8", data)
    data.concepts.write_text("")
    refused(ValueError, r"concepts\.csv has no column 'path' \(found: nothing\)", data)


# Mistakes in the groups


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"wing": ["long wings"]}, r"group 'wing' names 'long wings', no concept of .*csv; did you mean 'long wing'\?"),
        (
            {"wing": ["feet"]},
            r"group 'wing' names 'feet', no concept of .*; there are: long wing, .*hooked\.",
        ),
        ({"wing": []}, r"group 'wing' names no concept; name some of .*concepts\.csv, or remove the group"),
        ({"a": ["hooked"], "b": ["hooked"]}, "concept 'hooked' is in group 'b' and in group 'a'; leave it in one of"),
        ({"a": ["hooked", "hooked"]}, "concept 'hooked' is in group 'a' twice; leave it in one of them, once"),
    ],
)
def test_groups_that_cannot_be_right(root: Path, groups: dict[str, list[str]], message: str) -> None:
    refused(ValueError, f"concept_groups: {message}", read(root, concept_groups=groups))
    if all(groups.values()):
        lines = [f"{group},{name}" for group, members in groups.items() for name in members]
        file = table(root.parent / "groups.csv", "group,concept", *lines)
        refused(ValueError, rf"groups\.csv, line {len(lines) + 1}: {message}", read(root, concept_groups=file))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["group,name", "wing,hooked"], r"groups\.csv must have the columns concept and group, .* found: group, name"),
        ([""], r"groups\.csv must have the columns .* found: nothing"),
        (["group,concept", "beak,"], r"groups\.csv, line 2: group 'beak' names no concept"),
        (["group,concept", ",hooked"], r"groups\.csv, line 2: the group of concept 'hooked' is empty"),
        (["group,concept", "beak"], r"groups\.csv, line 2 has 1 cells; expected 2"),
    ],
)
def test_table_of_groups_that_cannot_be_right(root: Path, lines: list[str], message: str) -> None:
    refused(ValueError, message, read(root, concept_groups=table(root.parent / "groups.csv", *lines)))


def test_exclusive_groups(root: Path) -> None:
    refused(
        ValueError,
        "exclusive names 'wings', which is not a concept group; did you mean 'wing'",
        read(root, concept_groups=GROUPS, exclusive=["wings"]),
    )
    for cells, count in (("1,1", 2), ("0,0", 0)):
        lines = rows()
        lines[5] = f"blue/blue5.png,{cells},1"
        message = f"line 7: {count} concepts of the exclusive group 'wing' are present; expected exactly one"
        refused(ValueError, message, read(root, lines, concept_groups=GROUPS, exclusive=["wing"]))
    lines[5] = "blue/blue5.png,0,,1"  # perhaps the other one
    assert read(root, lines, concept_groups=GROUPS, exclusive=["wing"]).domain["exclusive"] == ["wing"]


def test_groups_without_concepts(root: Path) -> None:
    with pytest.raises(ValueError, match="concept_groups, exclusive and concept_boxes need concepts; give their table"):
        ImageFolder(str(root), concept_groups=GROUPS)


# Concepts that teach nothing


def test_constant_concepts_are_told(root: Path) -> None:
    lines = [f"{c}/{c}{i}.png,1,{i % 2},0," for c in CLASSES for i in range(10)]
    with pytest.warns(UserWarning) as found:
        read(root, lines, "path,always,sometimes,never,unknown").train_dataset()
    told = [str(w.message).split("csv: ")[1] for w in found]
    assert told == [
        "concept 'always' is 1 in every training image; it cannot be learned.",
        "concept 'never' is 0 in every training image; it cannot be learned.",
        "concept 'unknown' is not annotated; it cannot be learned.",
    ]


def test_good_concepts_are_not_warned_of(root: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(root, concept_groups=GROUPS).train_dataset()
