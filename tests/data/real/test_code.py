"""Windows of code: what is held out, which windows an epoch has, and that the cache changes nothing."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from zoo.data import CodeData
from zoo.data.real import code
from zoo.data.real.code_windows import Windows, WindowSampler
from zoo.domain import Domain

FILES = 12


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Files that each have a word of their own."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for i in range(FILES):
        word = "abcdefghijkl"[i] * 6
        lines = "".join(f"{word} = {word} + {k % 7}\n" for k in range(40))
        (folder / f"f{i}.py").write_text(f"# Licence\n{lines}", encoding="utf-8")
    return folder


def data(corpus: Path | None = None, **options) -> CodeData:
    settings = {"idioms": 0.0 if corpus else 1.0, "vocabulary": 300, "length": 16, "val_fraction": 0.25}
    root = str(corpus) if corpus else None
    folder = corpus.parent if corpus else None
    return CodeData(root, **{**settings, "cache": str(folder / "cache") if folder else None, **options})


def texts_of(made: CodeData, split: str) -> str:
    domain = made.make_domain()
    return "".join(domain.texts[n] for n in made.items(split, False).tokens.tolist())


def test_windows_are_tokens_and_the_one_after_them() -> None:
    windows = Windows(torch.arange(11, dtype=torch.int32), 3)
    assert [windows[i]["input"].tolist() for i in range(len(windows))] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert [int(windows[i]["target"]) for i in range(3)] == [3, 6, 9] == windows.targets.tolist()
    assert windows[0]["input"].dtype == windows[0]["target"].dtype == torch.long
    assert windows.name(1) == "tokens from 3" and len(Windows(torch.arange(3), 3)) == 0


def test_whole_files_are_held_out(corpus: Path) -> None:
    made = data(corpus)
    words = {split: {w for w in "abcdefghijkl" if w * 6 in texts_of(made, split)} for split in ("train", "val", "test")}
    assert [len(words[split]) for split in ("train", "val", "test")] == [6, 3, 3]
    assert len(set.union(*words.values())) == FILES
    assert "Licence" not in texts_of(made, "train") and texts_of(made, "train").count("<|end|>") == 6
    another = data(corpus, seed=1)
    assert texts_of(another, "test") != texts_of(made, "test")


def test_what_a_model_is_given(corpus: Path) -> None:
    made = data(corpus)
    domain = Domain.from_dict(made.domain)
    assert domain.modality == "code" and domain.shape == (16,) and len(domain.classes) == domain.size <= 300
    batch = next(iter(made.train_dataloader()))
    assert batch["input"].shape == (64, 16) and batch["target"].shape == (64,)
    domain.check(batch["input"], "Model")
    assert len(made.val_dataset()) > 0 and len(made.test_dataset()) > 0


def test_idioms_have_their_share_of_every_split(corpus: Path) -> None:
    made = data(corpus, idioms=0.75)
    for split in ("train", "val", "test"):
        files, idioms = (len(made._arrays[0][name]) for name in (split, f"{split} idioms"))
        assert idioms / (files + idioms) == pytest.approx(0.75, abs=0.01)
        windows = made.items(split, False)
        assert not ((windows.starts < files) & (windows.starts + 16 >= files)).any()  # none reaches into the idioms
    assert "def " in texts_of(made, "train")


def test_idioms_alone_read_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "read_files", lambda root: pytest.fail("read a file"))
    made = data(idiom_tokens=40_000, cache=str(tmp_path), held_out_windows=50)
    assert len(made.items("train", False)) == 40_000 // 16 - 1
    assert len(made.val_dataset()) == len(made.test_dataset()) == 50
    with pytest.raises(ValueError, match="idioms=1 reads no file, but root is x"):
        CodeData("x", idioms=1)


def epoch(made: CodeData, number: int) -> Tensor:
    loader = made.train_dataloader()
    loader.sampler.set_epoch(number)
    return torch.cat([batch["input"] for batch in loader])


def test_an_epoch_follows_from_seed_and_number(corpus: Path) -> None:
    first = [epoch(data(corpus, windows=50), number) for number in range(3)]
    assert all(len(windows) == 50 for windows in first) and not torch.equal(first[0], first[1])
    assert torch.equal(first[2], epoch(data(corpus, windows=50), 2))
    loaded = data(corpus, windows=50, workers=1)
    assert torch.equal(first[1], epoch(loaded, 1))


def test_drawn_windows_begin_anywhere_and_others_one_after_the_other(corpus: Path) -> None:
    made = data(corpus, windows=50)
    dataset = made.train_dataset()
    assert len(dataset) == len(dataset.tokens) - 16
    sampler = made.make_sampler(dataset, torch.Generator())
    assert len(set(sampler)) == 50 and len({i % 16 for i in sampler}) > 8
    assert torch.equal(data(corpus).train_dataset().starts % 16, torch.zeros(len(data(corpus).train_dataset())))
    assert len(made.projection_dataset()) == len(data(corpus).train_dataset())


def test_more_windows_than_there_are_repeat_evenly() -> None:
    sampler = WindowSampler(25, Windows(torch.arange(22), 2), torch.Generator(), 0)
    drawn = torch.tensor(list(sampler)).bincount(minlength=10)
    assert len(sampler) == 25 == int(drawn.sum()) and set(drawn.tolist()) == {2, 3}


def test_ranks_share_an_epoch() -> None:
    parts = []
    for rank in range(3):
        sampler = WindowSampler(11, Windows(torch.arange(41), 2), torch.Generator(), 0)
        sampler.num_replicas, sampler.rank = 3, rank
        sampler.count, sampler.num_samples = 9, 3
        parts.append(set(sampler))
    assert [len(part) for part in parts] == [3, 3, 3] and len(set.union(*parts)) == 9


def test_the_cache_changes_nothing_but_the_time(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = data(corpus)
    domain, windows = first.domain, first.items("train", False).tokens
    monkeypatch.setattr(code, "train_tokenizer", lambda *a: pytest.fail("made again"))
    again = data(corpus)
    assert again.domain == domain and torch.equal(again.items("train", False).tokens, windows)
    (corpus / "new.py").write_text("x = 1\n")
    with pytest.raises(pytest.fail.Exception, match="made again"):
        _ = data(corpus).domain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"idioms": 1.5}, r"idioms must be a share in \[0, 1\]; got 1.5"),
        ({"length": 0}, "length must be at least 1; got 0"),
        ({"windows": 0}, "windows must be at least 1; got 0"),
        ({"held_out_windows": 0}, "held_out_windows must be at least 1; got 0"),
        ({"batch_size": 0}, "expected batch_size >= 1"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CodeData(**options)


def test_too_small_a_corpus_is_refused(corpus: Path) -> None:
    with pytest.raises(ValueError, match=r"the val split has .* tokens, fewer than one window of 100000"):
        _ = data(corpus, length=100_000).val_dataset()
    for file in list(corpus.iterdir())[2:]:
        file.unlink()
    with pytest.raises(ValueError, match="the corpus has 2 files with code; at least 3 are needed"):
        _ = data(corpus).domain
