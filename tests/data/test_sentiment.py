"""SST-2 and ERASER movies: texts, labels and rationales word by word."""

import json
import tarfile
from pathlib import Path

import pytest

from zoo.data import SST2, EraserMovies
from zoo.data.sentiment import rationale, spans_of


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
    with pytest.raises(FileNotFoundError, match=r"no train.tsv in"):
        SST2(str(tmp_path)).make_domain()
    (tmp_path / "train.tsv").write_text("good film\t1\nbad film 0\n")
    with pytest.raises(
        ValueError, match=r"train.tsv, line 2: expected a sentence, a tab, and 0 or 1; got 'bad film 0'"
    ):
        SST2(str(tmp_path)).make_domain()


def test_the_real_sets(zoo_data: Path) -> None:
    sst = SST2()
    assert [len(sst.splits[s].texts) for s in ("train", "val", "test")] == [6920, 872, 1821]
    movies = EraserMovies()
    assert [len(movies.splits[s].texts) for s in ("train", "val", "test")] == [1600, 200, 199]
    items = movies.items("val", False)
    marked = items.regions[:, 0].bool()
    assert not (marked & (items.inputs == 0)).any()  # never padding
    assert (marked.any(1)).float().mean() > 0.9  # others have their rationale beyond the 512th word
    first = next(i for i in range(len(items)) if marked[i].any())
    start, end = spans_of(movies._reviews["val"][first])[0]
    tokens = movies.splits["val"].texts[first].split()[start:end]
    assert " ".join(tokens) == movies._reviews["val"][first]["evidences"][0][0]["text"]
