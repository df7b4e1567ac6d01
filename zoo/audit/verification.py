"""Verification of decision records: the checkpoint explains the input again, offline, and the two are compared."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.audit.plain_differences import differences
from zoo.audit.record import FORMAT, decision, identity, versions
from zoo.audit.recorded_input import recall_input, tensor_hash
from zoo.audit.signature import SIGNATURE, is_signed_by, key_name, read_key
from zoo.checkpoints.config_file import CERTIFICATE
from zoo.checkpoints.load import load
from zoo.checkpoints.pretrained import HUB, find
from zoo.utils.errors import short
from zoo.utils.paths import read_text

LARGEST = 2**26  # bytes of a record
KEYS = ("format", "created", "versions", "model", "input", "question", "sentence", "counterfactual", "explanation")
QUESTION = ("target", "versus", "reference", "settings", "locale")
SHOWN = 20  # differences of values that are listed


@dataclass(frozen=True)
class Difference:
    """One thing that is not as a record says.

    Attributes:
        kind: "signature", "key", "model", "input" or "field".
        message: what was got and what the record says.
    """

    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


@dataclass(frozen=True)
class Verification:
    """What the verification of a record found.

    Attributes:
        differences: none for a record that is true.
        notes: what could not be verified, or is different without being wrong, such as the version of a library.
    """

    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


def read_record(path: Path) -> dict[str, Any]:
    """A record from its file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, is larger than 64 MiB, or has not the keys of a record.
    """
    if path.is_file() and (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"{path} has {size:,} bytes; a record may have {LARGEST:,}.")
    try:
        record = json.loads(read_text(path, "decision record"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({short(str(error), 80)}).") from None
    missing = [key for key in KEYS if key not in record] if isinstance(record, dict) else list(KEYS)
    if missing:
        found = f"without {', '.join(missing)}" if isinstance(record, dict) else f"but {type(record).__name__}"
        raise ValueError(f"{path} is not a decision record: JSON {found}. Give a file that `explain --record` wrote.")
    if record["format"] != FORMAT:
        raise ValueError(f"{path} has the format {record['format']!r:.40}; this version reads {FORMAT}.")
    return record


def verify_record(
    record: Mapping[str, Any] | str | Path,
    key: str | Path | None = None,
    checkpoint: str | Path | None = None,
    source: str | Path | None = None,
    tolerance: float = 1e-4,
) -> Verification:
    """Verifies a decision record: its signature, the model, the input, and everything that the model says of it.

    Args:
        record: a record, or the path of its file.
        key: file with the key that it was signed with; without it the signature is not verified.
        checkpoint: name or folder of the checkpoint, if it is elsewhere than the record says.
        source: file of the input, if it is elsewhere than the record says.
        tolerance: how far numbers may differ, absolutely and relatively, as they do between processors.

    Raises:
        OSError: the record, the key, the checkpoint or the input is not there.
        ValueError: the record is not one, or the checkpoint is damaged.
    """
    folder = Path() if isinstance(record, Mapping) else Path(record).parent
    told = dict(record) if isinstance(record, Mapping) else read_record(Path(record))
    notes: list[str] = []
    found = list(_signature(told, None if key is None else read_key(Path(key)), notes))
    place = _checkpoint(told, checkpoint)
    wrong = list(_model(told, identity(place), place))
    found += wrong
    if not wrong:
        found += _decision(told, place, folder, None if source is None else Path(source), tolerance)
    now, then = versions(), told["versions"] if isinstance(told["versions"], Mapping) else {}
    notes += [
        f"{name} was {then.get(name)!s:.40}, here it is {now[name]}" for name in now if then.get(name) != now[name]
    ]
    return Verification(tuple(found), tuple(notes))


def _signature(told: Mapping[str, Any], key: bytes | None, notes: list[str]) -> Iterator[Difference]:
    given = told.get(SIGNATURE)
    if key is None:
        has = "its signature was not verified: give the key" if given else "it is not signed"
        notes.append(f"{has}; the time, the versions and the paths in it cannot be verified")
    elif not isinstance(given, Mapping):
        yield Difference("signature", "the record is not signed, though a key is given.")
    elif is_signed_by(told, key):
        return
    elif given.get("key") != key_name(key):
        yield Difference("key", f"it was signed with the key {given.get('key')!s:.16}, not with {key_name(key)}.")
    else:
        yield Difference("signature", "the content was changed after it was signed with this key.")


def _checkpoint(told: Mapping[str, Any], given: str | Path | None) -> Path:
    if given is not None:
        return find(given)
    about = told["model"]
    name = about.get("checkpoint") if isinstance(about, Mapping) else None
    if not isinstance(name, str) or name.startswith(HUB):  # a record does not make this machine download anything
        raise ValueError(f"the record names the checkpoint {name!r:.80}; name a local one with --checkpoint.")
    return find(name)


def _model(told: Mapping[str, Any], now: Mapping[str, Any], place: Path) -> Iterator[Difference]:
    about = told["model"]
    if about.get("name") != now["name"]:
        yield Difference("model", f"{place} is a '{now['name']}', the record is of a '{about.get('name')!s:.60}'.")
    if about.get(CERTIFICATE) != now[CERTIFICATE]:
        yield Difference("certificate", f"the record does not have the certificate of {place}.")
    then = about.get("sha256") if isinstance(about.get("sha256"), Mapping) else {}
    for name in sorted({*then, *now["sha256"]}):
        if then.get(name) != (found := now["sha256"].get(name)):
            yield Difference(
                "model", f"{place / name} has the SHA-256 {found!s:.12}..., the record names {then.get(name)!s:.12}..."
            )


def _decision(
    told: Mapping[str, Any], place: Path, folder: Path, source: Path | None, tolerance: float
) -> Iterator[Difference]:
    """Everything that the model computes again."""
    question = told["question"]
    if not isinstance(question, Mapping) or set(question) != set(QUESTION) or not isinstance(told["input"], Mapping):
        yield Difference("field", f"question and input must be mappings, the question with {', '.join(QUESTION)}.")
        return
    model = load(place)
    try:
        reading = recall_input(told["input"], model.domain, folder, source)
    except FileNotFoundError:
        raise
    except ValueError as error:
        yield Difference("input", str(error))
        return
    if tensor_hash(reading.x) != told["input"].get("tensor_sha256"):
        yield Difference("input", "the input is another one: what the model reads of it has not the recorded SHA-256.")
        return
    asked = {name: question[name] for name in QUESTION if name != "locale"}
    try:
        again = decision(model, reading, asked, str(question["locale"]))
    except (ValueError, TypeError) as error:
        yield Difference("field", f"question: {short(str(error))}")
        return
    wrong = differences({name: told[name] for name in again}, again, tolerance)
    for name, then, now in wrong[:SHOWN]:
        yield Difference("field", f"{name} is {then!r:.80} in the record; the model says {now!r:.80}.")
    if len(wrong) > SHOWN:
        yield Difference("field", f"... and {len(wrong) - SHOWN} more values.")
