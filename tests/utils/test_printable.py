"""Names that are printed, and names and numbers in JSON."""

import json
import os

import pytest

from zoo.utils.json_text import to_json, without_nan
from zoo.utils.printable import printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Zaunkönig 🐦 שלום", "Zaunkönig 🐦 שלום"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("line\u2028line", "line\\u2028line"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("\x9b31m", "\\x9b31m"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_escapes(name: str, shown: str) -> None:
    assert printable(name) == shown and printable(shown) == shown
    shown.encode()


def test_line_breaks_can_stay() -> None:
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


def test_json_keeps_every_name_and_refuses_nan() -> None:
    names = ["Zaunkönig", os.fsdecode(b"caf\xe9"), "\u2028"]
    text = to_json(names)
    text.encode()
    assert json.loads(text) == names and "Zaunkönig" in text and "\n" not in text
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=rf"a\[1\]\.b is {number}, a number that JSON cannot express"):
            to_json({"a": [1.0, {"b": number}]})
    with pytest.raises(ValueError, match=r"the value is nan"):
        to_json(float("nan"))
    assert to_json(without_nan({"a": [float("nan"), 1.5], "b": (float("-inf"),)})) == '{"a": [null, 1.5], "b": [null]}'
