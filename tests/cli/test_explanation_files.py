"""What `train.py explain` writes: results of this very model, complete by themselves, in files of the user's own."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest
import torch

import zoo
from tests.cli import hostile
from tests.small_models import ROWS, build
from zoo.cli.explain import identity_of, parse
from zoo.cli.main import main
from zoo.core.module import SelfInterpretable
from zoo.utils.json_text import to_json


def explain(checkpoint: Path, out: Path, *inputs: str, more: tuple[str, ...] = ()) -> int:
    return main(["explain", "--checkpoint", str(checkpoint), "--output", str(out), "--input", *inputs, *more])


def records(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "explanations.jsonl").read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture
def picture(tmp_path: Path) -> str:
    (tmp_path / "a.png").write_bytes(hostile.encoded("PNG"))
    return str(tmp_path / "a.png")


def test_a_model_that_was_trained_again_explains_again(tmp_path: Path, picture: str, capsys) -> None:
    """Regression: results were kept under the path of the checkpoint, so those of its former content were kept too."""
    model, out = build("protopnet").model.eval(), tmp_path / "out"
    checkpoint = zoo.save(model, tmp_path / "model")
    assert explain(checkpoint, out, picture) == 0 and explain(checkpoint, out, picture) == 0
    assert "1 of 1 inputs are explained already" in capsys.readouterr().out
    first = records(out)[0]["score"]
    with torch.no_grad():
        model.head.weight.mul_(2)
    zoo.save(model, checkpoint)
    assert explain(checkpoint, out, picture) == 0 and "already" not in capsys.readouterr().out
    assert records(out)[0]["score"] != first and len(records(out)) == 1
    (out / "a.html").unlink()
    assert explain(checkpoint, out, picture) == 0 and (out / "a.html").is_file()  # a page that was deleted comes back


def test_the_reference_can_be_chosen(tmp_path: Path, picture: str, capsys) -> None:
    checkpoint, out = zoo.save(build("protopnet").model.eval(), tmp_path / "model"), tmp_path / "out"
    for more, expected in (((), "runner-up"), (("--reference", "zero"), "zero"), (("--reference", "mean"), "mean")):
        assert explain(checkpoint, out, picture, more=more) == 0
        (one,) = records(out)  # another reference is another explanation, in the place of the last
        assert one["reference"] == expected and set(one["references"]) == {"zero", "mean", "runner-up"}
        parts = json.loads((out / "a.json").read_text(encoding="utf-8"))
        for name, told in one["references"].items():
            total = told["bias"] + sum(term["contributions"][name] for term in parts["evidence"])
            assert total == pytest.approx(told["explained_score"], abs=1e-4)
        assert one["explained_score"] == one["references"][expected]["explained_score"]
    capsys.readouterr()
    assert explain(checkpoint, out, picture, more=("--reference", "mean", "--versus", "star")) == 2
    assert "--versus explains the difference of two scores, so it takes no --reference" in capsys.readouterr().err


def test_circuits_count_by_their_content(tmp_path: Path) -> None:
    checkpoint, file = zoo.save(build("cbm").model.eval(), tmp_path / "model"), tmp_path / "task.safetensors"
    options = ["--checkpoint", str(checkpoint), "--input", "a", "--circuit", str(tmp_path / "task.json")]
    found = set()
    for content in (b"one", b"two"):
        file.write_bytes(content)
        found.add(to_json(identity_of(parse(options))))
    found |= {to_json(identity_of(parse([*options, "--set", pair]))) for pair in ("groups=5", "groups=6")}
    assert len(found) == 4


def test_outputs_replace_links_and_respect_the_umask(tmp_path: Path, picture: str) -> None:
    """Regression: a page whose name was a link overwrote what the link led to."""
    checkpoint, out = zoo.save(build("protopnet").model.eval(), tmp_path / "model"), tmp_path / "out"
    out.mkdir()
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    for name in ("a.html", "a.json", "explanations.jsonl", "model.html"):
        (out / name).symlink_to(theirs)
    mask = os.umask(0o077)
    try:
        assert explain(checkpoint, out, picture) == 0
        assert main(["show", "--checkpoint", str(checkpoint), "--output", str(out / "model.html")]) == 0
    finally:
        os.umask(mask)
    assert theirs.read_text() == "theirs" and len(list(out.iterdir())) == 4
    for path in out.iterdir():
        assert not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_texts_are_shown_and_kept_as_they_were_written(tmp_path: Path, capsys) -> None:
    """Regression: "terrible" became an unknown mark, a text of unknown words was answered without a warning, and the
    record of a group of words held neither words nor positions."""
    checkpoint, out = zoo.save(build("sop", "texts").model.eval(), tmp_path / "model"), tmp_path / "out"
    assert explain(checkpoint, out, "Terrible FOOD, loud", "zig zag zug") == 0
    told = capsys.readouterr().err
    assert "warning: Terrible FOOD, loud: 2 of 4 words are unknown" in told
    assert "warning: zig zag zug: 3 of 3 words are unknown" in told
    first, second = records(out)
    assert first["text"] == "Terrible FOOD, loud" and second["warnings"] == ["3 of 3 words are unknown to the model."]
    words = ["Terrible", "FOOD", ",", "loud"]
    whole = json.loads((out / "text.json").read_text(encoding="utf-8"))
    for term in (*first["evidence"], *whole["evidence"]):
        assert term["words"] and term["words"] == [words[i] for i in term["positions"]]
    page = (out / "text-2.html").read_text(encoding="utf-8")
    assert (
        "<p class='warning'>3 of 3 words are unknown to the model.</p>" in page and page.count("class='unknown'") >= 3
    )
    model = zoo.load(checkpoint)
    (tmp_path / "a.txt").write_text("zig zag zug")
    assert "warning: 3 of 3 words are unknown to the model." in str(model.explain_file(tmp_path / "a.txt"))


def test_degenerate_inputs_have_a_warning(tmp_path: Path, capsys) -> None:
    """Regression: an image of one pixel was answered like any other."""
    checkpoint, out = zoo.save(build("protopnet").model.eval(), tmp_path / "model"), tmp_path / "out"
    (tmp_path / "one.png").write_bytes(hostile.encoded("PNG", size=(1, 1)))
    assert explain(checkpoint, out, str(tmp_path / "one.png")) == 0
    assert "one.png: The image has 1 × 1 pixels, which are enlarged to 12 × 10." in capsys.readouterr().err
    assert len(records(out)[0]["warnings"]) == 2 and (out / "one.html").read_text().count("class='warning'") == 2


def test_records_are_complete(tmp_path: Path) -> None:
    """The values of a row, the boxes of parts and the segments of series stand in the record."""
    table = zoo.save(build("cbm").model.eval(), tmp_path / "table")
    (tmp_path / "row.csv").write_text("width,height,hue\n1.5,-2,0.25\n")
    assert explain(table, tmp_path / "a", str(tmp_path / "row.csv")) == 0
    assert records(tmp_path / "a")[0]["values"] == dict(zip(ROWS.features, (1.5, -2.0, 0.25), strict=True))
    series = build("sop", "series")
    one = series.model.explain(series.inputs[:1])
    for term, row in zip(one.top(3)[0], one.to_dict(3)[0]["evidence"], strict=True):
        cells = one.support[0, term.index]  # (T', V), 3 steps a cell
        steps = [(s["variables"][0], i) for s in row["segments"] for i in range(s["steps"][0], s["steps"][1] + 1)]
        names = series.model.domain.variables
        assert set(steps) == {
            (names[v], i) for t, v in cells.nonzero().tolist() for i in range(3 * t, min(3 * t + 3, 11))
        }
    image = build("sop")
    one = image.model.explain(image.inputs[:1])
    for term, row in zip(one.top(3)[0], one.to_dict(3)[0]["evidence"], strict=True):
        covered = torch.zeros(12, 10, dtype=torch.bool)
        for top, left, bottom, right in row["boxes"]:
            covered[top:bottom, left:right] = True
        assert covered.equal(one.support[0, term.index].bool().repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_an_input_that_the_model_fails_on_is_left_out_alone(tmp_path: Path, monkeypatch, capsys) -> None:
    """Regression: an error inside of the model, or scores that are not finite, stopped all inputs of the call."""
    checkpoint, out = zoo.save(build("cbm").model.eval(), tmp_path / "model"), tmp_path / "out"
    (tmp_path / "rows.csv").write_text("width,height,hue\n1,2,3\n4,66666,6\n7,8,9\n-1,77777,2\n")
    step = SelfInterpretable.step

    def fragile(self: SelfInterpretable, x: torch.Tensor):
        if bool((x == 66666).any()):
            raise IndexError("index -1 is out of bounds")
        scores, evidence = step(self, x)
        return scores.where((x != 77777).all(1, keepdim=True), torch.nan), evidence

    monkeypatch.setattr(SelfInterpretable, "step", fragile)
    assert explain(checkpoint, out, str(tmp_path / "rows.csv")) == 1
    told = capsys.readouterr().err
    assert "rows.csv row 2: IndexError: index -1 is out of bounds" in told.replace("\n", " ")
    assert "rows.csv row 4: CBM gives scores that are not finite" in told.replace("\n", " ")
    assert "6.67e+04 standard deviations from the mean" in told and "2 of 4 inputs could not be explained" in told
    assert [one["title"] for one in records(out)] == ["rows.csv row 1", "rows.csv row 3"]


def test_options_are_checked_before_any_input(tmp_path: Path, picture: str, capsys) -> None:
    checkpoint = zoo.save(build("sop").model.eval(), tmp_path / "model")
    for option, message in (
        ("groups=9999", "groups must be 1 to"),
        ("group=5", "no option 'group' for an explanation"),
    ):
        assert explain(checkpoint, tmp_path / "out", picture, more=("--set", option)) == 2
        told = capsys.readouterr().err
        assert message in told and "skipped" not in told
    assert not (tmp_path / "out").exists()


def test_a_full_disk_loses_nothing_that_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """The command ends with one line; called again with room on the disk, it completes the same results."""
    checkpoint = zoo.save(build("protopnet").model.eval(), tmp_path / "model")
    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(hostile.encoded("PNG"))
    inputs = [str(tmp_path / f"{name}.png") for name in "abcd"]
    assert explain(checkpoint, tmp_path / "whole", *inputs) == 0
    written: list[int] = []

    def fsync(handle: int) -> None:
        written.append(handle)
        if len(written) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        capsys.readouterr()
        assert explain(checkpoint, tmp_path / "out", *inputs) in (1, 2)
        assert "No space left on device" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    assert explain(checkpoint, tmp_path / "out", *inputs) == 0
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert [r["score"] for r in records(tmp_path / "out")] == [r["score"] for r in records(tmp_path / "whole")]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, picture: str, capsys) -> None:
    checkpoint = zoo.save(build("protopnet").model.eval(), tmp_path / "model")
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/zoo")):
        assert explain(checkpoint, output, picture) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and str(output.name) in error
