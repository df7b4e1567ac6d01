"""What a request may take, and how one that is refused is answered."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Limits:
    """Bounds of a server; all are checked before the memory or the time is spent.

    Attributes:
        body: bytes of a request.
        rows: inputs in a request.
        page_rows: inputs in a request for a page.
        pixels: of an image, by its header.
        characters: of a text, a prompt or a SMILES.
        cells: of a table or a file of numbers as text.
        columns: cells in a line of the same.
        scans: of a JPEG; each takes as long as the picture is large.
        seconds: for a request, from its first byte to the answer.
        upload_seconds: for the body of a request, and for its headers.
        uploads: requests whose bodies are read at the same time.
        queue: requests that are read, wait for the model or are answered.
        batch: inputs in one pass of the model.

    Raises:
        ValueError: a limit that is not above 0.
    """

    body: int = 8 * 2**20
    rows: int = 256
    page_rows: int = 16
    pixels: int = 2**25
    characters: int = 50_000
    cells: int = 200_000
    columns: int = 5_000
    scans: int = 100
    seconds: float = 30.0
    upload_seconds: float = 10.0
    uploads: int = 32
    queue: int = 32
    batch: int = 32

    def __post_init__(self) -> None:
        for f in fields(self):
            if not getattr(self, f.name) > 0:
                raise ValueError(f"the limit {f.name} must be above 0; got {getattr(self, f.name)}.")


class Refusal(Exception):
    """Why a request has no answer.

    Args:
        status: of the response, 4xx or 5xx.
        got: what the request has.
        expected: what it should have.
        remedy: what to do.
    """

    def __init__(self, status: int, got: str, expected: str, remedy: str) -> None:
        super().__init__(f"got {got}; expected {expected}. {remedy}")
        self.status, self.got, self.expected, self.remedy = status, got, expected, remedy

    def to_dict(self) -> dict[str, Any]:
        """The body of the response."""
        told = {"status": self.status, "got": self.got, "expected": self.expected, "remedy": self.remedy}
        return {"error": told}


def busy(what: str, most: int) -> Refusal:
    """The refusal of a request that would wait behind too many others."""
    return Refusal(503, f"{most} requests that {what}", "fewer at the same time", "Try again in a second.")


def too_late(seconds: float) -> Refusal:
    """The refusal of a request whose time is over."""
    return Refusal(504, f"no answer within {seconds:g} s", "a free server", "Try again later, or send fewer inputs.")
