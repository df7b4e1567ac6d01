"""Decision records: what is true verifies, and every kind of change is found and named."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torchvision.io import write_png

import zoo
from tests.small_models import SMALL, build
from zoo.audit.plain_differences import differences
from zoo.audit.signature import canonical, is_signed_by, key_name, signed
from zoo.audit.verification import read_record
from zoo.cli.main import main

KEY, OTHER = b"0123456789abcdef-the-key", b"another key, which is long enough"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of one model with different weights, two pictures, two keys, and a signed record."""
    folder = tmp_path_factory.mktemp("records")
    small = SMALL["protopnet"]()
    zoo.save(small.model, folder / "model")
    with torch.no_grad():
        small.model.head.weight.mul_(1.01)
    zoo.save(small.model, folder / "other")
    generator = torch.Generator().manual_seed(0)
    for name in ("a", "b"):
        picture = torch.randint(0, 256, (3, 12, 10), dtype=torch.uint8, generator=generator)
        write_png(picture, str(folder / f"{name}.png"))
    (folder / "key").write_bytes(KEY + b"\n")
    (folder / "wrong").write_bytes(OTHER)
    zoo.record(folder / "model", folder / "a.png", path=folder / "a.json", key=folder / "key")
    return folder


def kinds(place: Path, record: object, **options: object) -> set[str]:
    return {found.kind for found in zoo.verify_record(record, **{"key": place / "key", **options}).differences}


def test_a_record_is_complete_and_true(place: Path) -> None:
    record = read_record(place / "a.json")
    model = zoo.load(place / "model")
    told = model.explain_file(place / "a.png")
    assert (
        record["sentence"].startswith(told.sentence()[:60]) and record["explanation"]["target"] == told.target_names[0]
    )
    assert len(record["explanation"]["evidence"]) == len(told.units)
    assert record["counterfactual"]["units"] and record["counterfactual"]["answer"] in model.domain.classes
    assert set(record["model"]["sha256"]) == {"config.yaml", "model.safetensors", "golden.safetensors"}
    assert zoo.verify_record(place / "a.json", key=place / "key") == zoo.verify_record(record, key=place / "key")
    assert zoo.verify_record(place / "a.json", key=place / "key").differences == ()
    assert zoo.verify_record(place / "a.json", key=place / "key").notes == ()
    assert "signature was not verified" in zoo.verify_record(record).notes[0]


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The path of every value that is not a mapping or list."""
    if isinstance(value, dict):
        return [p for key, inner in value.items() for p in places(inner, (*path, key))]
    if isinstance(value, list):
        return [p for i, inner in enumerate(value) for p in places(inner, (*path, i))]
    return [path]


def changed(record: dict, path: tuple) -> dict:
    """A copy with another value at a path."""
    copied = copy.deepcopy(record)
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    value = inner[path[-1]]
    if isinstance(value, bool) or value is None:
        inner[path[-1]] = "mean" if value is None else not value
    elif isinstance(value, int | float):
        inner[path[-1]] = value + 1
    else:
        inner[path[-1]] = f"{value}x"
    return copied


def test_every_changed_value_breaks_the_signature(place: Path) -> None:
    record = read_record(place / "a.json")
    found = places(record)
    assert len(found) > 80
    for path in found:
        if path[0] != "signature":
            assert not is_signed_by(changed(record, path), KEY), path
    removed = {name: value for name, value in record.items() if name != "counterfactual"}
    assert not is_signed_by(removed, KEY)
    assert is_signed_by(json.loads(json.dumps(record, indent=3, sort_keys=True)), KEY)  # layout and order do not count
    assert not is_signed_by(record, OTHER) and key_name(KEY) != key_name(OTHER)


def test_every_changed_value_of_the_decision_is_found_without_a_key(place: Path) -> None:
    """What the model computes again; one change after the other, compared with one decision."""
    record = read_record(place / "a.json")
    computed = {name: record[name] for name in ("sentence", "counterfactual", "explanation")}
    count = 0
    for path in places(computed):
        tampered = changed(computed, path)
        found = differences(tampered, computed, 1e-4)
        assert found, path
        count += 1
    assert count > 70 and differences(computed, copy.deepcopy(computed), 1e-4) == []
    evidence = computed["explanation"]["evidence"]
    for tampered in (evidence[1:], [*evidence, {**evidence[0], "unit": "star #9"}], evidence[:1] * len(evidence)):
        assert differences(
            {**computed, "explanation": {**computed["explanation"], "evidence": tampered}}, computed, 1e-4
        )
    swapped = [evidence[1], evidence[0], *evidence[2:]]  # equal terms may change places
    assert not differences(
        {**computed, "explanation": {**computed["explanation"], "evidence": swapped}}, computed, 1e-4
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda r: r["explanation"].update(score=r["explanation"]["score"] + 0.01), "explanation.score is"),
        (lambda r: r["explanation"].update(target="circle"), "explanation.target is 'circle'"),
        (lambda r: r["explanation"]["evidence"][0].update(contribution=9.0), "contribution is 9.0"),
        (lambda r: r.update(sentence=r["sentence"].replace("star", "moon")), "sentence is"),
        (lambda r: r["counterfactual"].update(answer="square"), "counterfactual.answer is 'square'"),
        (lambda r: r["question"].update(target=1), "explanation.target is"),
        (lambda r: r["question"].update(target=7777), "question: target 7777 is out of range"),
        (lambda r: r["question"].update(locale="de"), "sentence is"),
        (lambda r: r.update(question=3), "question and input must be mappings"),
    ],
)
def test_a_changed_record_is_told_by_the_model_too(place: Path, change: Callable, expected: str) -> None:
    record = read_record(place / "a.json")
    change(record)
    found = zoo.verify_record(record).differences
    assert found and {one.kind for one in found} == {"field"} and any(expected in str(one) for one in found), found
    assert kinds(place, record) == {"signature", "field"}
    assert kinds(place, signed(record, KEY)) == {"field"}  # signed again by who has the key: the model still tells


def test_another_model_is_found(place: Path) -> None:
    assert kinds(place, place / "a.json", checkpoint=place / "other") == {"model"}
    found = zoo.verify_record(place / "a.json", checkpoint="sop-mnist").differences
    assert "is a 'sop', the record is of a 'protopnet'" in str(found[0])
    record = read_record(place / "a.json")
    record["model"]["checkpoint"] = "hub:somebody/model"
    with pytest.raises(ValueError, match=r"names the checkpoint 'hub:somebody/model'; name a local one"):
        zoo.verify_record(record)
    record["model"]["checkpoint"] = str(place / "gone")
    with pytest.raises(FileNotFoundError, match=r"gone has no config\.yaml"):
        zoo.verify_record(record)


def test_another_input_is_found(place: Path, tmp_path: Path) -> None:
    found = zoo.verify_record(place / "a.json", source=place / "b.png").differences
    assert [one.kind for one in found] == ["input"] and "b.png has the SHA-256" in str(found[0])
    record = read_record(place / "a.json")
    record["input"]["sha256"] = zoo.record(place / "model", place / "b.png")["input"]["sha256"]
    assert [one.kind for one in zoo.verify_record(record, source=place / "b.png").differences] == ["input"]
    record["input"]["path"] = str(tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        zoo.verify_record(record)


def test_another_key_and_no_signature(place: Path) -> None:
    assert kinds(place, place / "a.json", key=place / "wrong") == {"key"}
    unsigned = zoo.record(place / "model", place / "a.png")
    assert kinds(place, unsigned) == {"signature"} and "it is not signed" in zoo.verify_record(unsigned).notes[0]
    forged = signed(unsigned, OTHER)
    forged["signature"]["key"] = key_name(KEY)  # it names the key but was made without it
    assert kinds(place, forged) == {"signature"}
    (place / "short").write_text("abc\n")
    with pytest.raises(ValueError, match="short has 4 bytes; a key has 16 to 4,096"):
        zoo.verify_record(unsigned, key=place / "short")
    with pytest.raises(FileNotFoundError, match="no key file at"):
        zoo.verify_record(unsigned, key=place / "none")


def test_the_input_may_be_contained(place: Path, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes((place / "a.png").read_bytes())
    record = zoo.record(place / "model", tmp_path / "x.png", keep="content", versus="circle", target="star")
    (tmp_path / "x.png").unlink()
    assert zoo.verify_record(record).differences == ()
    assert "the other score would be higher" in record["sentence"]
    for content, message in (("!!", "not base64"), ("AAAA", "the content in the record has the SHA-256")):
        record["input"]["content"] = content
        (found,) = zoo.verify_record(record).differences
        assert found.kind == "input" and message in found.message
    with pytest.raises(ValueError, match="keep must be one of path, content; got 'all'"):
        zoo.record(place / "model", place / "a.png", keep="all")


@pytest.mark.parametrize("name", ["cbm", "c3m", "lex", "sum_gin"])
def test_rows_texts_and_models_that_are_not_additive(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = build(name)
    zoo.save(small.model, tmp_path / "model")
    graph = {"nodes": [{"charge": 1, "element": "C"}, {"charge": 2, "element": "C"}], "edges": [[0, 1, {"length": 1}]]}
    files = {
        "cbm": ("in.csv", "width,height,hue\n1,2,3\n3,2,1\n"),
        "lex": ("in.csv", "width,height,hue\n1,2,3\n3,2,1\n"),
        "sum_gin": ("in.jsonl", "\n".join([json.dumps(graph)] * 2)),
    }
    monkeypatch.chdir(tmp_path)
    given = "good food, loud place"
    if name in files:
        given, content = files[name]
        Path(given).write_text(content)
    assert (
        main(["explain", "--checkpoint", "model", "--input", given, "--output", "out", "--record", "--pages", "1"]) == 0
    )
    records = sorted(Path("out").glob("*.record.json"))
    assert len(records) == (2 if name in files else 1)
    monkeypatch.chdir("out")  # the checkpoint is found from where it was written only
    assert main(["verify", *[path.name for path in records], "--checkpoint", "../model"]) == 0
    record = read_record(Path(records[0].name))
    if "text" in record["input"]:
        record["input"]["text"] = record["input"]["text"].replace("good", "bad").replace('"charge": 1', '"charge": 5')
    else:
        record["input"]["values"]["width"] = "7"
    (found,) = zoo.verify_record(record, checkpoint="../model").differences
    assert found.kind == "input"


def test_the_command(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    explain = ["explain", "--checkpoint", str(place / "model"), "--input", str(place / "a.png"), str(place / "b.png")]
    out = ["--output", str(tmp_path), "--pages", "1", "--record", "content", "--key", str(place / "key")]
    assert main([*explain, *out, "--locale", "de"]) == 0
    assert "Die Antwort ist" in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "explanations.jsonl").read_text().splitlines()]
    assert [line["record"] for line in lines] == ["a.record.json", "b.record.json"]
    assert all(line["sentence"].startswith("Die Antwort ist") for line in lines)
    (tmp_path / "b.record.json").unlink()  # a record that is gone is made again
    assert main([*explain, *out, "--locale", "de"]) == 0 and (tmp_path / "b.record.json").is_file()
    records = [str(tmp_path / line["record"]) for line in lines]
    capsys.readouterr()
    assert main(["verify", *records, "--key", str(place / "key")]) == 0
    assert "2 of 2 records are true" in capsys.readouterr().out
    assert main(["verify", *records, "--key", str(place / "wrong")]) == 1
    told = capsys.readouterr()
    assert told.out.count("FAILED") == 2 and "key: it was signed with the key" in told.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--key", "k"], "--key signs decision records; add --record"),
        (["--record", "all"], "invalid choice: 'all'"),
        (["--record", "--circuit", "c"], "without --circuit"),
        (["--locale", "ed"], "no language 'ed'"),
    ],
)
def test_bad_options_are_told(place: Path, more: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["explain", "--checkpoint", str(place / "model"), "--input", "x.png", *more]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "JSON but list"),
        ("{}", "JSON without format"),
        (None, "no decision record at"),
    ],
)
def test_what_is_no_record_is_told(tmp_path: Path, content: str | None, message: str, capsys) -> None:
    if content is not None:
        (tmp_path / "r.json").write_text(content)
    assert main(["verify", str(tmp_path / "r.json")]) == 2
    assert message in capsys.readouterr().err


def test_formats_of_the_future_and_bad_tolerances(place: Path, tmp_path: Path, capsys) -> None:
    record = read_record(place / "a.json")
    (tmp_path / "r.json").write_text(json.dumps({**record, "format": 2}))
    assert main(["verify", str(tmp_path / "r.json")]) == 2 and "has the format 2" in capsys.readouterr().err
    assert main(["verify", "x", "--tolerance", "2"]) == 2 and "--tolerance must be in" in capsys.readouterr().err


def test_last_digits_may_differ_where_numbers_do() -> None:
    """Sentences on another processor: only together with numbers that differ within the tolerance."""
    then = {"sentence": "The answer is “a” (+0.125).", "explanation": {"score": 1.0}}
    rounded = {"sentence": "The answer is “a” (+0.126).", "explanation": {"score": 1.000001}}
    assert differences(then, rounded, 1e-4) == []
    assert differences(then, {**rounded, "explanation": then["explanation"]}, 1e-4)
    for text in ("The answer is “a” (+0.225).", "The answer is “b” (+0.126).", "The answer is “a” (−0.125)."):
        assert differences(then, {**rounded, "sentence": text}, 1e-4), text


def test_the_canonical_form_is_known() -> None:
    assert canonical({"b": 1.5, "a": "ä", "signature": {}}) == b'{"a":"\\u00e4","b":1.5}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical({"a": float("nan")})
