"""Signatures of decision records: HMAC-SHA256 of their canonical JSON, with a key in a file."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.utils.paths import check_file

SIGNATURE = "signature"  # key of a record
ALGORITHM = "HMAC-SHA256"
SHORTEST, LONGEST = 16, 4096  # bytes of a key
LABEL = b"zoo: name of a key"  # signed to name a key


def read_key(path: Path) -> bytes:
    """The key in a file; a line break at its end is ignored.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the key is shorter than 16 or longer than 4096 bytes.
    """
    check_file(path, "key file")
    size = path.stat().st_size
    key = path.read_bytes().rstrip(b"\r\n") if size <= LONGEST else b""
    if len(key) < SHORTEST:
        raise ValueError(
            f"{path} has {size:,} bytes; a key has {SHORTEST} to {LONGEST:,}. Make one with `openssl rand -hex 32`."
        )
    return key


def canonical(record: Mapping[str, Any]) -> bytes:
    """What is signed: a record without its signature, as JSON with sorted keys and without spaces.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    content = {name: value for name, value in record.items() if name != SIGNATURE}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def key_name(key: bytes) -> str:
    """A name of a key, from which it cannot be computed, to tell keys apart."""
    return hmac.new(key, LABEL, hashlib.sha256).hexdigest()[:16]


def signed(record: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    """The record with a signature, in place of an earlier one."""
    value = hmac.new(key, canonical(record), hashlib.sha256).hexdigest()
    return {**record, SIGNATURE: {"algorithm": ALGORITHM, "key": key_name(key), "value": value}}


def is_signed_by(record: Mapping[str, Any], key: bytes) -> bool:
    """Whether the signature of a record is that of its content with this key."""
    given = record.get(SIGNATURE)
    value = given.get("value") if isinstance(given, Mapping) else None
    expected = hmac.new(key, canonical(record), hashlib.sha256).hexdigest()
    return isinstance(value, str) and hmac.compare_digest(value.encode("utf-8", "replace"), expected.encode())
