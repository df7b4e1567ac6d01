"""Tagged music: regions hold the sound of their tag, and an intervention removes it and nothing else."""

from pathlib import Path

import pytest
import torch

from zoo.data import AudioTable, TaggedMusic
from zoo.data.synthetic.tagged_music import TAGS
from zoo.training.tasks import task_loss


@pytest.fixture(scope="module")
def music() -> TaggedMusic:
    return TaggedMusic(count=4, val_count=4, test_count=40)


def test_regions_are_where_removal_changes_the_clip(music: TaggedMusic) -> None:
    domain, items = music.make_domain(), music.items("test", False)
    for c, tag in enumerate(TAGS):
        rows = [i for i in range(40) if items.targets[i, c] > 0][:4]
        assert rows
        left = music.interventions("test", rows, [tag])
        for row, changed in zip(rows, left, strict=True):
            item = items[row]
            region = item["regions"][c].bool()
            moved = (domain.values(item["input"]) - domain.values(changed)).abs()
            assert moved[region].mean() > 5 * moved[~region].mean()
            near = torch.nn.functional.max_pool1d(region.any(1).float()[None], 9, 1, 4)[0] > 0
            assert not bool(moved[~near].any())  # a frame reads two hops on either side
    for i in range(40):
        assert torch.equal(items[i]["regions"].flatten(1).any(1), items.targets[i] > 0)


def test_clips_are_drawn_from_the_seed_alone(music: TaggedMusic) -> None:
    again = TaggedMusic(count=4, val_count=4, test_count=40).items("test", False)
    assert torch.equal(again[3]["input"], music.items("test", False)[3]["input"])
    wave = music.wave("test", 3)
    assert wave.shape == (24_000,) and wave.abs().max() < 1.5
    other = TaggedMusic(seed=1, count=4, val_count=4, test_count=40).items("test", False)
    assert not torch.equal(other[3]["input"], again[3]["input"])


def test_own_recordings_have_a_label_or_tags(tmp_path: Path, capsys: pytest.CaptureFixture, music: TaggedMusic) -> None:
    soundfile = pytest.importorskip("soundfile")
    lines = ["file,label,fast,loud"]
    for i in range(8):
        soundfile.write(tmp_path / f"{i}.wav", music.wave("test", i).numpy(), 8000 if i else 16000)
        lines.append(f"{i}.wav,{'a' if i % 2 else 'b'},{i % 2},{i // 4}")
    (tmp_path / "x.csv").write_text("\n".join(lines))
    data = AudioTable(str(tmp_path / "x.csv"))
    assert data.domain["classes"] == ["a", "b"] and data.train_dataset()[0]["input"].shape == (188, 64)
    assert "1 of 8 recordings: The recording was resampled from 16000" in capsys.readouterr().out
    tagged = AudioTable(str(tmp_path / "x.csv"), tags=["fast", "loud"])
    assert tagged.domain["task"] == "multilabel" and tagged.items("test", False).targets.shape == (2, 2)
    (tmp_path / "y.csv").write_text("\n".join([*lines[:8], "7.wav,a,2,0"]))
    with pytest.raises(ValueError, match="line 9: the tag 'fast' is '2'; expected 0 or 1"):
        AudioTable(str(tmp_path / "y.csv"), tags=["fast", "loud"]).items("train", False)
    (tmp_path / "z.csv").write_text("\n".join([*lines, "none.wav,a,1,0"]))
    with pytest.raises(FileNotFoundError, match=r"z.csv, line 10: no sound file at .*none.wav"):
        AudioTable(str(tmp_path / "z.csv")).items("train", False)


def test_the_loss_of_tags_is_the_mean_over_rows_and_tags(music: TaggedMusic) -> None:
    scores, target = torch.tensor([[2.0] * 9, [-1.0] * 9]), torch.tensor([[1.0] * 9, [0.0] * 9])
    expected = (torch.tensor([2.0, 1.0]).neg().exp() + 1).log().mean()
    torch.testing.assert_close(task_loss(scores, target, music.make_domain()), expected)
