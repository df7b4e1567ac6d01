"""ERASER movies: texts, labels and rationales word by word."""

import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.data import EraserMovies
from zoo.data.real.eraser_movies import rationale, spans_of
from zoo.domain.text import TextDomain, split_words


def test_a_rationale_counts_words_as_the_domain_does() -> None:
    text = "plot : does n't quite pass , don't-miss\nthe test ."
    found = rationale(text, [(2, 4), (6, 7)], 14)  # "does n't" and ", "? no: the token "don't-miss" is number 7
    words = ["plot", ":", "does", "n't", "quite", "pass", ",", "don't", "-", "miss", "the", "test", "."]
    marked = [w for w, inside in zip(words, found.tolist(), strict=False) if inside]
    assert marked == ["does", "n't", ","]
    assert rationale(text, [(7, 8)], 14).nonzero().flatten().tolist() == [7, 8, 9]
    assert rationale(text, [(7, 8)], 8).tolist() == [0] * 7 + [1]  # cut at the length
    row = {"evidences": [[{"start_token": 1, "end_token": 3}], [{"start_token": 5, "end_token": 6}]]}
    assert spans_of(row) == [(1, 3), (5, 6)]


@given(st.lists(st.text("aB'.-é_ \t\n\u2003\u0130", max_size=6), min_size=1, max_size=12), st.data())
def test_rationales_lie_on_the_tokens_of_the_domain(parts: list[str], data: st.DataObject) -> None:
    text = " ".join(["start", *parts])
    tokens = text.split()
    start = data.draw(st.integers(0, len(tokens) - 1))
    end, length = data.draw(st.integers(start + 1, len(tokens))), data.draw(st.integers(1, 20))
    domain = TextDomain(classes=("a", "b"), vocabulary=tuple(sorted(set(split_words(text)))), length=length)
    x, inside = domain.preprocess(text), rationale(text, [(start, end)], length).bool()
    before, marked = (split_words(" ".join(tokens[a:b])) for a, b in ((0, start), (start, end)))
    assert inside.shape == x.shape and domain.words(x[inside]) == marked[: max(length - len(before), 0)]


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    folder = tmp_path / "eraser_movies"
    (folder / "docs").mkdir(parents=True)
    for split in ("train_1600", "val", "test"):
        rows = []
        for i, label in enumerate(["NEG", "POS", "NEG", "POS"]):
            name = f"{split}_{i}.txt"
            word = "awful" if label == "NEG" else "great"
            (folder / "docs" / name).write_text(f"this film is\n{word} !")
            span = {"docid": name, "start_token": 3, "end_token": 4, "text": word}
            rows.append({"annotation_id": name, "classification": label, "evidences": [[span]]})
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_reviews_from_a_folder_and_from_the_archive(movies: Path) -> None:
    archive = movies.parent / "packed" / "eraser_movies.tar.xz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:xz") as opened:
        opened.add(movies, "eraser_movies")
    for root in (movies, movies.parent, archive.parent):
        data = EraserMovies(str(root), length=6)
        items = data.items("train", True)
        words = data.make_domain().words
        assert len(items) == 4 and words(items[0]["input"]) == ["this", "film", "is", "awful", "!"]
        for i in range(4):
            inside = items[i]["regions"][0].bool()
            assert [w for w, m in zip(words(items[i]["input"]), inside.tolist(), strict=False) if m] == [
                "awful" if items[i]["target"] == 0 else "great"
            ]


def test_what_is_missing_is_named(movies: Path, tmp_path: Path) -> None:
    (movies / "docs" / "val_2.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"val names the review docs/val_2.txt"):
        EraserMovies(str(movies)).make_domain()
    with pytest.raises(FileNotFoundError, match=r"neither docs/ nor eraser_movies.tar.xz"):
        EraserMovies(str(tmp_path / "none")).make_domain()


def test_the_real_set(zoo_data: Path) -> None:
    movies = EraserMovies()
    assert [len(movies.splits[s].texts) for s in ("train", "val", "test")] == [1600, 200, 199]
    items = movies.items("val", False)
    marked = items.regions[:, 0].bool()
    assert not (marked & (items.inputs == 0)).any()  # never padding
    assert (marked.any(1)).float().mean() > 0.9  # others have their rationale beyond the 512th word
    known = set(movies.make_domain().vocabulary)
    for i, row in enumerate(movies._reviews["val"]):
        spans = [span for group in row["evidences"] for span in group]
        tokens = movies.splits["val"].texts[i].split()
        assert all(" ".join(tokens[s["start_token"] : s["end_token"]]) == s["text"] for s in spans)
        first = min(spans, key=lambda s: s["start_token"])
        at = len(split_words(" ".join(tokens[: first["start_token"]])))
        wanted = split_words(first["text"])[: max(512 - at, 0)]
        assert marked[i, :at].sum() == 0 and marked[i, at : at + len(wanted)].all()
        read = movies.make_domain().words(items.inputs[i, at : at + len(wanted)])
        assert read == [word if word in known else "\u2039?\u203a" for word in wanted]


def test_other_line_breaks_in_records_and_damaged_lines(movies: Path) -> None:
    """Regression: U+2028 within a text ended its line, and a damaged line was a raw JSONDecodeError."""
    path = movies / "val.jsonl"
    rows = [json.loads(line) for line in path.read_text().split("\n")]
    rows[1]["query"] = "line\u2028line"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert len(EraserMovies(str(movies.parent)).val_dataset()) == 4
    path.write_text(path.read_text(encoding="utf-8")[:-5], encoding="utf-8")
    with pytest.raises(ValueError, match=r"val\.jsonl, line 4 is not JSON .*; get the file again"):
        EraserMovies(str(movies.parent)).val_dataset()
