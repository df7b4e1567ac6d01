"""What was uploaded as inputs of a model: bytes only, through a private temporary file where a reader takes a path."""

import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from zoo.domain import Domain, GraphDomain, ImageDomain, TableDomain
from zoo.domain.image import FORMATS, UNREADABLE
from zoo.domain.inputs import Input, Literal, Reading, Row, inputs_of, read_input
from zoo.serving.limits import Limits, Refusal
from zoo.serving.uploads import Upload, check_cells, endings
from zoo.utils.csv_files import TABLES
from zoo.utils.printable import printable

SCAN, JPEG = b"\xff\xda", b"\xff\xd8"  # begin a scan of a JPEG, and a JPEG
ATOM = 20  # characters of a SMILES for each atom, brackets and bonds included
ROOM = 1000  # characters of a line beside its SMILES: a name, other columns
SCALE = "Scale it down."
BINARY = frozenset({".npy", ".wav", ".flac", ".ogg"})  # endings of what is no text


@dataclass(frozen=True)
class Named:
    """One input of a request.

    Attributes:
        input: as the log of `explain` names it.
        title: of its page.
        reading: for the model.
    """

    input: str
    title: str
    reading: Reading


def read_inputs(upload: Upload, domain: Domain, limits: Limits, most: int) -> list[Named]:
    """All inputs of an upload.

    Args:
        upload: of a request.
        domain: of the model.
        limits: of the server.
        most: inputs that may be there.

    Raises:
        Refusal: 413 if it is too large, 422 if it does not fit the domain.
    """
    if upload.content is None:
        files: list[Input] = [Literal(text) for text in upload.texts]
        files += [Row(Path("request"), number, row) for number, row in enumerate(upload.rows, 1)]
        return _named(files, upload, domain, limits, most, str)
    ending = PurePosixPath(upload.name).suffix.lower()
    _check(upload.content, ending, domain, limits)
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        path = Path(folder) / f"input{ending}"
        path.write_bytes(upload.content)

        def shown(text: object) -> str:
            """A text in which the file is named as the request names it."""
            return str(text).replace(str(path), upload.name).replace(f"{folder}/", "")

        return _named(list(inputs_of([str(path)], domain)), upload, domain, limits, most, shown)


def _named(
    files: list[Input], upload: Upload, domain: Domain, limits: Limits, most: int, shown: Callable[[object], str]
) -> list[Named]:
    if len(files) > most:
        raise Refusal(413, f"{len(files)} inputs", f"at most {most}", "Send them in several requests.")
    found, longest = [], _longest(domain, limits)
    for file in files:
        raw = file.raw if isinstance(file, Row) else file
        if isinstance(raw, str) and len(raw) > longest:
            raise _too_long(len(raw), longest)
        try:
            reading = read_input(file, domain)
        except (OSError, ValueError, ArithmeticError, RecursionError) as error:
            what = "it is nested too deeply" if isinstance(error, RecursionError) else shown(error)
            remedy = f"Correct {'the text' if isinstance(file, Literal) else shown(file)} and send it again."
            raise Refusal(422, printable(what)[:1000].removesuffix("."), endings(domain), printable(remedy)) from None
        if len(reading.text) > longest:  # of a table with one row
            raise _too_long(len(reading.text), longest)
        title = upload.name if isinstance(file, Path) else "text" if isinstance(file, Literal) else shown(file)
        found.append(Named(shown(file), title, reading))
    return found


def _check(content: bytes, ending: str, domain: Domain, limits: Limits) -> None:
    """Refuses what would take much more memory or time than its size suggests.

    Raises:
        Refusal: 413 or 422.
    """
    if isinstance(domain, ImageDomain):
        return _check_image(content, domain, limits)
    if ending in BINARY:
        return None
    check_cells(content, limits)
    longest = _longest(domain, limits)
    smiles = isinstance(domain, GraphDomain) and domain.smiles
    if smiles and max(map(len, content.split(b"\n"))) > 2 * longest + ROOM:
        raise Refusal(413, "a long line", f"SMILES of at most {longest} characters", "Send a smaller molecule.")
    if domain.quoted and not smiles and ending not in TABLES and len(content) > 4 * longest:  # bytes of UTF-8
        raise _too_long(len(content), longest)
    if isinstance(domain, TableDomain) and (lines := content.count(b"\n")) > 2 * limits.rows + 2:
        raise Refusal(413, f"{lines} lines", f"at most {limits.rows} rows", "Send several requests.")
    return None


def _check_image(content: bytes, domain: Domain, limits: Limits) -> None:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refusal(413, printable(error).removesuffix("."), f"at most {limits.pixels} pixels", SCALE) from None
    except UNREADABLE:
        return  # the domain says what is wrong
    if width * height > limits.pixels:
        raise Refusal(413, f"an image of {width} × {height} pixels", f"at most {limits.pixels}", SCALE)
    if content.startswith(JPEG) and content.count(SCAN) > limits.scans:
        raise Refusal(422, f"a JPEG of {content.count(SCAN)} scans", f"at most {limits.scans}", "Save it again.")


def _longest(domain: Domain, limits: Limits) -> int:
    """Characters of a text; a SMILES has few for each atom, and RDKit takes long to find the rings of long ones."""
    if isinstance(domain, GraphDomain) and domain.smiles:
        return min(limits.characters, ATOM * domain.nodes)
    return limits.characters


def _too_long(length: int, longest: int) -> Refusal:
    return Refusal(413, f"a text of {length} characters", f"at most {longest}", "Send a part of it.")
