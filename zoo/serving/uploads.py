"""The body of a request, read within bounds of size and time: a file, texts, or rows of a table."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from zoo.domain import Domain, TableDomain
from zoo.domain.columns import Cell
from zoo.serving.limits import Limits, Refusal
from zoo.utils.printable import printable

LONGEST_NAME = 100  # characters of a file name in answers
DRAINED = 4  # times the limit of a body that are read and dropped, so that the sender gets the answer
CHUNK = 2**16
KINDS = {  # endings of what browsers and libraries send under these types
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/bmp": ".bmp",
    "image/tiff": ".tif",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "text/plain": ".txt",
    "text/x-python": ".py",
    "application/x-npy": ".npy",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "chemical/x-daylight-smiles": ".smi",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg",
}


@dataclass(frozen=True)
class Upload:
    """What a request asks about: one of the three.

    Attributes:
        name: of the file, only its last part; for titles and its ending.
        content: of the file.
        texts: given in place of a file.
        rows: of a table, given in place of a file.
    """

    name: str = ""
    content: bytes | None = None
    texts: tuple[str, ...] = ()
    rows: tuple[Mapping[str, Cell], ...] = ()


async def read_upload(request: Request, domain: Domain, limits: Limits) -> Upload:
    """Reads the body of a request.

    It is a form with a `file` or a `text`; a file as it is, whose name is the parameter `name` or whose ending follows
    from the content type; or JSON, see `upload_of_json`.

    Raises:
        Refusal: 408, 413, 415 or 400.
    """
    body = await read_body(request, limits)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        upload = await upload_of_form(request, body, limits)
    elif name := request.query_params.get("name"):
        upload = Upload(short_name(name), body)
    elif kind == "application/json":
        upload = upload_of_json(body, domain, limits)
    elif domain.quoted and kind == "text/plain":
        upload = Upload(texts=(decoded(body),))
    elif kind in KINDS:
        upload = Upload(f"input{KINDS[kind]}", body)
    else:
        got = f"the content type '{short_name(kind)}' and no name" if kind else "neither a content type nor a name"
        raise unreadable(domain, got)
    if upload.content is not None and PurePosixPath(upload.name).suffix.lower() not in domain.endings:
        raise unreadable(domain, f"a file named '{upload.name}'")
    if not (upload.content or any(upload.texts) or upload.rows):
        raise Refusal(400, "an empty body", f"one of {endings(domain)}", "Send a file, or a text for models of texts.")
    return upload


async def read_body(request: Request, limits: Limits) -> bytes:
    """The bytes of a request.

    Raises:
        Refusal: 413 if there are too many, 408 if they do not come in time.
        ClientDisconnect: the sender has gone.
    """
    body, total = bytearray(), 0
    try:
        async with asyncio.timeout(limits.upload_seconds):
            async for chunk in request.stream():
                total += len(chunk)
                if total <= limits.body:
                    body += chunk
                else:
                    body.clear()
                if total > DRAINED * limits.body:
                    break
    except TimeoutError:
        wanted = f"all of it within {limits.upload_seconds:g} s"
        raise Refusal(408, f"{total} bytes of a body", wanted, "Send it faster, or less.") from None
    if total > limits.body:
        got = f"a body of {'more than ' if total > DRAINED * limits.body else ''}{total} bytes"
        raise Refusal(413, got, f"at most {limits.body}", "Send fewer rows, or a smaller file.")
    return bytes(body)


async def drain(request: Request, limits: Limits) -> None:
    """Drops the body of a request that is refused, for a second at most, so that its sender gets the answer."""
    total = 0
    try:
        async with asyncio.timeout(1.0):
            async for chunk in request.stream():
                total += len(chunk)
                if total > limits.body:
                    return
    except (TimeoutError, ClientDisconnect):
        return


class MemoryParser(MultiPartParser):
    """A parser of forms that keeps files in memory instead of writing them to disk."""

    spool_max_size = 2**40


async def upload_of_form(request: Request, body: bytes, limits: Limits) -> Upload:
    """The file or text in a form.

    Raises:
        Refusal: 400.
    """

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), CHUNK):
            yield body[start : start + CHUNK]
            await asyncio.sleep(0)  # other requests go on

    try:
        parser = MemoryParser(
            request.headers,
            chunks(),  # type: ignore[arg-type]
            max_files=1,
            max_fields=2,
            max_part_size=limits.body,
        )
        form = await parser.parse()
    except (MultiPartException, ValueError, KeyError) as error:
        reason = getattr(error, "message", "") or "its parts cannot be read"
        got = f"a broken form: {printable(reason)}"
        raise Refusal(400, got, "a form with one file", "Send it as curl -F does.") from None
    text = form.get("text")
    try:
        for file in (value for _, value in form.multi_items() if isinstance(value, UploadFile)):
            if file.filename or file.size:  # a browser sends an empty one if none is chosen
                return Upload(short_name(file.filename or ""), await file.read())
    finally:
        await form.close()
    if isinstance(text, str) and text:
        return Upload(texts=(text.replace("\r\n", "\n"),))
    raise Refusal(400, "a form without a file", "a part named 'file', or 'text'", "Choose a file.")


def upload_of_json(body: bytes, domain: Domain, limits: Limits) -> Upload:
    """What JSON asks about.

    Rows of a table are `{"rows": [{column: value, ...}, ...]}`, a list of them, or one; texts are `{"text": ...}` or
    `{"texts": [...]}`. For a model that reads .json files, all of it is the file.

    Raises:
        Refusal: 400, 413 or 415.
    """
    if ".json" in domain.endings:
        return Upload("input.json", body)
    if not (domain.quoted or isinstance(domain, TableDomain)):
        raise unreadable(domain, "JSON")
    check_cells(body, limits)
    wanted = 'rows such as {"rows": [{"age": 30}]}' if isinstance(domain, TableDomain) else 'such as {"text": "..."}'
    try:
        plain = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else printable(error)
        raise Refusal(400, f"a body that is not JSON ({reason:.200})", wanted, "Correct the JSON.") from None
    if isinstance(domain, TableDomain):
        rows = plain.get("rows", [plain]) if isinstance(plain, dict) else plain
        if isinstance(rows, list) and rows and all(map(_is_row, rows)):
            return Upload(rows=tuple(rows))
    elif isinstance(plain, dict) and set(plain) <= {"text", "texts"}:
        given = plain["texts"] if "texts" in plain else [plain.get("text")]
        texts = [text for text in given if isinstance(text, str) and text] if isinstance(given, list) else []
        if texts and len(texts) == len(given):
            return Upload(texts=tuple(texts))
    got = "JSON of other things than rows of numbers and texts" if isinstance(domain, TableDomain) else "other JSON"
    raise Refusal(400, got, wanted, "Correct the JSON.")


def check_cells(content: bytes, limits: Limits) -> None:
    """Refuses a text of more numbers or columns than may be read, before it is read: each takes memory and time.

    Raises:
        Refusal: 413.
    """
    cells = sum(map(content.count, (b",", b";", b"\t", b"\n", b"\r")))
    if cells > limits.cells:
        raise Refusal(413, f"{cells} cells", f"at most {limits.cells}", "Send the rows in several requests.")
    line = content.lstrip(b"\xef\xbb\xbf\r\n \t").partition(b"\n")[0]
    columns = max(map(line.count, (b",", b";", b"\t")))
    if columns > limits.columns and not line.startswith((b"{", b"[")):
        raise Refusal(413, f"{columns} columns", f"at most {limits.columns}", "Send only those that the model reads.")


def decoded(body: bytes) -> str:
    """A text in UTF-8.

    Raises:
        Refusal: 400.
    """
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refusal(400, f"bytes that are not UTF-8 ({error.reason})", "a text", "Send it as UTF-8.") from None


def short_name(name: str) -> str:
    """The last part of a path, printable and short: it is shown, and never opened."""
    shown = printable(PurePosixPath(name.replace("\\", "/").replace("\0", "")).name)
    return shown if len(shown) <= LONGEST_NAME else f"…{shown[-LONGEST_NAME:]}"


def endings(domain: Domain) -> str:
    """What a model reads."""
    return f"{domain.noun} ({', '.join(sorted(domain.endings))})"


def unreadable(domain: Domain, got: str) -> Refusal:
    """The refusal of a file of another kind."""
    remedy = "Send a form with a file, or a file with its name: /explain?name=FILE."
    return Refusal(415, got, endings(domain), remedy)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _is_row(plain: Any) -> bool:
    """Whether it is a row of cells: numbers, texts and nothing."""
    kinds = (str, int, float, type(None))
    return isinstance(plain, dict) and all(type(value) in kinds for value in plain.values())
