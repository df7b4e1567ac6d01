"""The input of a decision record: where it is or what it is, and its hashes."""

import base64
import binascii
import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.domain import Domain
from zoo.domain.inputs import Input, Literal, Reading, Row, read_input
from zoo.utils.paths import check_file

KEEPS = ("path", "content")
LARGEST = 2**24  # bytes of a file that a record contains


def describe_input(file: Input, x: Tensor, keep: str = "path") -> dict[str, Any]:
    """What a record says about its input.

    Args:
        file: that was read.
        x: what was read from it, without batch dimension.
        keep: "path", or "content" for a record that also contains the input. Texts and rows of tables always do.

    Raises:
        ValueError: no such way to keep it, or the file is too large to be contained.
    """
    if keep not in KEEPS:
        raise ValueError(f"keep must be one of {', '.join(KEEPS)}; got '{keep}'.")
    known: dict[str, Any] = {"tensor_sha256": tensor_hash(x)}
    if isinstance(file, Literal):
        return {"kind": "text", "text": str(file), **known}
    if isinstance(file, Row):
        told = {"kind": "row", "path": str(file.path), "row": file.number, **known}
        if isinstance(file.raw, Mapping) and all(isinstance(value, str) for value in file.raw.values()):
            return told | {"values": dict(file.raw)}
        if isinstance(file.raw, str):
            return told | {"text": file.raw}
        if keep == "content":
            raise ValueError(f"{file} cannot be contained in a record; keep its path, or give it a file of its own.")
        return told
    content = file.read_bytes()
    told = {"kind": "file", "path": str(file), "sha256": hashlib.sha256(content).hexdigest(), **known}
    if keep == "path":
        return told
    if len(content) > LARGEST:
        raise ValueError(f"{file} has {len(content):,} bytes; a record may contain {LARGEST:,}. Keep the path.")
    return told | {"content": base64.b64encode(content).decode("ascii")}


def tensor_hash(x: Tensor) -> str:
    """SHA-256 of type, shape and values of a tensor."""
    values = x.detach().cpu().contiguous()
    head = f"{values.dtype} {tuple(values.shape)} ".encode()
    return hashlib.sha256(head + values.numpy().tobytes()).hexdigest()


def recall_input(told: Mapping[str, Any], domain: Domain, folder: Path, given: Path | None) -> Reading:
    """Reads the input of a record again.

    Args:
        told: by `describe_input`.
        domain: of the model.
        folder: of the record, where a relative path is searched if it does not exist here.
        given: the file, if it is elsewhere now.

    Raises:
        OSError: the file cannot be read.
        ValueError: the record does not say what its input is, or the file is another one than the record names.
    """
    kind = told.get("kind")
    if kind == "text" and isinstance(text := told.get("text"), str):
        return read_input(Literal(text), domain)
    raw = told.get("values", told.get("text"))
    if kind == "row" and given is None and isinstance(raw, Mapping | str):
        return read_input(Row(Path(str(told.get("path"))), 0, raw), domain)
    if kind == "file" and given is None and isinstance(content := told.get("content"), str):
        return _contained(content, told, domain)
    if kind not in ("file", "row") or not isinstance(told.get("path"), str):
        raise ValueError(f"the record says 'kind: {kind!r:.40}' of its input, which this model does not read.")
    path = given or _found(Path(told["path"]), folder)
    check_file(path, "input")
    if kind == "row":
        rows, number = domain.rows(path), told.get("row")
        if not isinstance(number, int) or not 1 <= number <= len(rows):
            raise ValueError(f"{path} has {len(rows)} rows, and no row {number!r:.20}.")
        return read_input(Row(path, number, rows[number - 1]), domain)
    _compare(path.read_bytes(), told, str(path))
    return read_input(path, domain)


def _found(path: Path, folder: Path) -> Path:
    return path if path.exists() or path.is_absolute() else folder / path


def _compare(content: bytes, told: Mapping[str, Any], where: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != told.get("sha256"):
        raise ValueError(f"{where} has the SHA-256 {found[:12]}..., the record names {told.get('sha256')!s:.12}...")


def _contained(content: str, told: Mapping[str, Any], domain: Domain) -> Reading:
    """The input that a record contains, read through a file of the same ending."""
    try:
        raw = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the content in the record is not base64.") from None
    _compare(raw, told, "the content in the record")
    ending = Path(str(told.get("path"))).suffix.lower()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"input{ending if ending in domain.endings else ''}"
        path.write_bytes(raw)
        return read_input(path, domain)
