"""YAML is read in bounded time and memory, and only plain data."""

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoints.damage import TEXTS
from zoo.utils import yaml_files
from zoo.utils.yaml_files import ConfigLoader, dump_yaml, parse_yaml, read_yaml

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(PLAIN)
def test_what_is_written_is_read(value: object) -> None:
    assert parse_yaml(dump_yaml({"value": value})) == {"value": value}
    assert parse_yaml(yaml.safe_dump(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"),  # 90 in base 60
        ("2001-01-01", "2001-01-01"),
        ("<<", "<<"),
        ("1e-3", "1e-3"),
        ("1.0e-3", 0.001),
        ("0x1F", 31),
        ("[yes, ~, .inf, -7, 1_000]", [True, None, float("inf"), -7, 1000]),
    ],
)
def test_values(text: str, value: object) -> None:
    assert parse_yaml(text) == value


def test_people_write_numbers_in_more_ways() -> None:
    assert parse_yaml("[1e-3, 1e5, 1.5e3, 1:30, e5, 1]", ConfigLoader) == [0.001, 1e5, 1500.0, "1:30", "e5", 1]


@pytest.mark.parametrize("text", TEXTS, ids=[text[:20] for text in TEXTS])
def test_hostile_texts_take_seconds_at_most(text: str) -> None:
    """Regression: aliases never ended, and numbers of base 60 took quadratic time."""
    start = time.process_time()
    try:
        parse_yaml(text, ConfigLoader)
    except ValueError as error:
        assert "not valid YAML" in str(error) or "not plain YAML" in str(error) or "too large" in str(error)
    assert time.process_time() - start < 10


def test_people_write_aliases() -> None:
    """Regression: configs with anchors were refused."""
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: &y 3\nd: *y", ConfigLoader) == {"a": [1, 2], "b": [1, 2], "c": 3, "d": 3}
    with pytest.raises(ValueError, match=r"it has the alias \*x"):
        parse_yaml("a: &x [1, 2]\nb: *x")
    with pytest.raises(ValueError, match="the value of &x contains itself"):
        parse_yaml("a: &x [1, *x]", ConfigLoader)


def test_a_shared_value_is_written_twice() -> None:
    shared = [1, 2]
    assert parse_yaml(dump_yaml({"a": shared, "b": shared})) == {"a": [1, 2], "b": [1, 2]}


def test_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.yaml"
    for content, message in ((b"a: [1", "not valid YAML"), (b"\xff\xfe\x00\x80", "not valid"), (b"a: 1\na: 2", "once")):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=message) as found:
            read_yaml(file)
        assert str(file) in str(found.value)
    monkeypatch.setattr(yaml_files, "LARGEST", 10)
    file.write_text("a: 12345678901")
    with pytest.raises(ValueError, match="has 14 bytes; a YAML file may have 10"):
        read_yaml(file)


def test_long_lists_of_values_are_written_in_lines() -> None:
    words = [f"word {i}" for i in range(48)] + ["- a, b", "#c", "yes", "1e3", "[", "'", ""]
    text = dump_yaml({"words": words, "pairs": [[1, 2]] * 60, "few": ["a", "b"]})
    assert parse_yaml(text) == {"words": words, "pairs": [[1, 2]] * 60, "few": ["a", "b"]}
    assert "few:\n- a\n- b\n" in text and "words: [word 0, word 1," in text
    assert max(map(len, text.splitlines())) < 100
