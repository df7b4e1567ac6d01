"""Tables of texts: their splits, their concepts, and an error with file and line for what cannot be."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist

from zoo.data import TextTable
from zoo.data.base.sampling import EpochSampler, LengthSampler
from zoo.domain import Domain
from zoo.domain.inputs import inputs_of, read

HEAD = "text,label,food,spicy,split\n"


def table(folder: Path, rows: list[str], head: str = HEAD, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def rows(count: int = 12) -> list[str]:
    food = ("good", "bad", "")
    return [
        f"text number {i} of the food,{'pn'[i % 2]},{food[i % 3]},{('1', '0', '')[i % 3]},train" for i in range(count)
    ]


def test_columns_become_concepts(tmp_path: Path) -> None:
    data = TextTable(str(table(tmp_path, rows())), concepts=["food", "spicy"], length=8)
    domain = Domain.from_dict(data.domain)
    assert domain.concepts == ("food: bad", "food: good", "spicy") and domain.exclusive == ("food",)
    assert domain.classes == ("n", "p") and domain.shape == (8,)
    labels = data.items("train", False).concepts
    assert labels.shape[1] == 3 and set(labels[:, :2].nansum(1).tolist()) <= {0.0, 1.0}
    unknown = labels[:, 0].isnan()
    assert torch.equal(unknown, labels[:, 1].isnan()) and unknown.any() and (labels[~unknown, :2].sum(1) == 1).all()
    assert set(labels[:, 2].nan_to_num(-1).tolist()) == {0.0, 1.0, -1.0}


def test_without_a_test_split_a_fifth_of_every_label_is_held_out(tmp_path: Path) -> None:
    data = TextTable(str(table(tmp_path, rows(40))), val_fraction=0.25)
    sizes = [len(part) for part in (data.train_dataset(), data.val_dataset(), data.test_dataset())]
    assert sum(sizes) == 40 and sizes[2] == 8
    seen = [
        part.name(i)
        for part in (data.train_dataset(), data.val_dataset(), data.test_dataset())
        for i in range(len(part))
    ]
    assert len(set(seen)) == 40 and seen[0].startswith("t.csv, line ")


def test_splits_of_the_table_and_a_test_table_are_kept(tmp_path: Path) -> None:
    split = [
        r.replace(",train", s) for r, s in zip(rows(14), [",train"] * 8 + [",val"] * 3 + [",test"] * 3, strict=True)
    ]
    data = TextTable(str(table(tmp_path, split)))
    assert [len(data.items(s, False)) for s in ("train", "val", "test")] == [8, 3, 3]
    assert len(data.train_dataset()) == 8
    other = table(tmp_path, rows(5), name="other.csv")
    assert len(TextTable(str(table(tmp_path, rows())), test=str(other)).test_dataset()) == 5


def test_tabs_separate_a_tsv(tmp_path: Path) -> None:
    path = table(tmp_path, [f"some text {i}\t{i % 2}" for i in range(10)], "sentence\tlabel\n", "t.tsv")
    assert Domain.from_dict(TextTable(str(path), text="sentence").domain).classes == ("0", "1")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (rows(), {"text": "review"}, r"t.csv has no column 'review' \(found: text, label, food, spicy, split\)"),
        (rows(), {"concepts": ["noise"]}, "t.csv has no column 'noise'"),
        ([*rows(), ",p,good,1,train"], {}, "t.csv, line 14: the text is empty"),
        ([*rows(), "x,p,good,1,dev"], {}, "t.csv, line 14: split is 'dev'; expected train, val or test"),
        (["a,p,,,train"] * 9, {}, r"t.csv has 1 class to train on \(p\); a classifier needs two or more"),
        (["a,p,,,test"] * 9, {}, r"t.csv has 0 classes to train on \(none\)"),
        ([*rows(), "x,q,good,1,test"], {}, "the test split has classes that the train split lacks: q"),
        ([*rows(), "...,p,good,1,train"], {"length": 3}, None),
    ],
)
def test_table_that_cannot_be_right(tmp_path: Path, content: list[str], options: dict, message: str | None) -> None:
    path = table(tmp_path, content)
    if message is None:
        TextTable(str(path), **options).items("train", False)  # punctuation is words too
        return
    with pytest.raises(ValueError, match=message):
        data = TextTable(str(path), **options)
        assert data.domain
        data.items("test", False)


def test_a_table_that_trains_is_explained(tmp_path: Path) -> None:
    """A table of texts that a model was trained from could not be explained."""
    path = table(tmp_path, [f"some text {i}\t{i % 2}" for i in range(10)], "sentence\tlabel\n", "t.tsv")
    domain = Domain.from_dict(TextTable(str(path), text="sentence").domain)
    found = list(inputs_of([str(path)], domain))
    assert len(found) == 10 and str(found[3]) == f"{path} row 4"
    assert torch.equal(read(found[3], domain), domain.preprocess("some text 3"))
    other = table(tmp_path, ["one;some text 1"], "id;sentence\n", "one.csv")
    assert list(inputs_of([str(other)], domain)) == [other]
    assert torch.equal(domain.read(other), domain.preprocess("some text 1"))
    wrong = table(tmp_path, ["a", "b"], "review\n", "wrong.csv")
    assert list(inputs_of([str(wrong)], domain)) == [wrong]
    with pytest.raises(ValueError, match=r"wrong.csv has no column 'sentence' \(found: review\)"):
        domain.read(wrong)


def test_cells_beyond_the_header_are_refused(tmp_path: Path) -> None:
    """A text with a comma lost what follows it, silently."""
    path = table(tmp_path, ["positive,I saw it, great", *["positive,x", "negative,y"] * 4], "label,text\n")
    with pytest.raises(ValueError, match=r"t.csv, line 2 has 3 cells; expected 2"):
        _ = TextTable(str(path)).domain


def test_few_texts_with_splits_of_their_own(tmp_path: Path) -> None:
    lines = [f"x,{label},good,1,{split}" for label in "pq" for split in ("train", "val", "test")]
    data = TextTable(str(table(tmp_path, lines)), least=1)
    assert [len(data.items(split, False)) for split in ("train", "val", "test")] == [2, 2, 2]


def test_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no table at .*none.csv"):
        assert TextTable(str(tmp_path / "none.csv")).domain


def test_batches_of_similar_lengths_hold_every_text_once_and_little_padding(tmp_path: Path) -> None:
    texts = [f"{' '.join(['word'] * (1 + 7 * i % 31))} {i},{'pn'[i % 2]},,,train" for i in range(130)]
    path = str(table(tmp_path, texts))

    def batches(epoch: int, **options: Any) -> list[torch.Tensor]:
        loader = TextTable(path, least=1, batch_size=8, **options).train_dataloader()
        assert isinstance(loader.sampler, EpochSampler)
        loader.sampler.set_epoch(epoch)
        return [batch["input"] for batch in loader]

    def padded(found: list[torch.Tensor]) -> int:
        lengths = [(x != 0).sum(1) for x in found]
        return sum(int((length.max() - length).sum()) for length in lengths)

    plain, first, again, second = batches(0), *(batches(epoch, similar_lengths=True) for epoch in (0, 0, 1))
    assert padded(first) < padded(plain) / 5
    assert [len(x) for x in first] == [len(x) for x in plain]
    for other in (plain, second):
        assert sorted(torch.cat(first).tolist()) == sorted(torch.cat(other).tolist())
    assert torch.equal(torch.cat(first), torch.cat(again)) and not torch.equal(torch.cat(first), torch.cat(second))
    lengths = [int((x != 0).sum()) for x in first]
    assert lengths != sorted(lengths)  # short texts do not come first
    with pytest.raises(ValueError, match=r"similar_lengths needs sampling 'uniform'; got sampling 'balanced'"):
        TextTable(path, similar_lengths=True, sampling="balanced")


def test_the_text_that_is_dropped_is_not_always_the_longest() -> None:
    """Regression: a single text in the last batch, which the loader drops, was the longest in every epoch."""
    sampler, last = LengthSampler(range(17), torch.Generator(), 0, torch.arange(17), 4), set()
    for epoch in range(6):
        sampler.set_epoch(epoch)
        last.add(list(sampler)[-1])
    assert len(last) > 2


def test_shards_of_similar_lengths_are_disjoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda *_: 2)
    shards = []
    for rank in range(2):
        monkeypatch.setattr(dist, "get_rank", lambda *_, rank=rank: rank)
        shards.append(list(LengthSampler(range(26), torch.Generator(), 0, torch.arange(26), 4)))
    assert [len(shard) for shard in shards] == [13, 13] and sorted(shards[0] + shards[1]) == list(range(26))
