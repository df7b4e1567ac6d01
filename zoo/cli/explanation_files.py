"""What `train.py explain` writes for one input: a line of JSON, and for some a page and the complete JSON."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from zoo.audit.record import Recorder
from zoo.cli.explanation_log import RECORD
from zoo.core.curves import Curve
from zoo.core.explanation import Explanation
from zoo.core.explanation_dict import answer_of
from zoo.domain.inputs import Input, Literal, modified
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json
from zoo.utils.printable import printable
from zoo.views.html import page

LONGEST = 80  # characters of a text in a message
SPOKEN = 10  # inputs with a page, up to which their sentences are printed too
WIDTH = 100  # characters of a line of a sentence


@dataclass(frozen=True)
class Result:
    """An explanation, ready to be written.

    Attributes:
        input: that was explained.
        record: for the log.
        page: HTML; "" for inputs without a page.
        json: complete; "" for inputs without a page.
        warnings: about the input.
        decision: the decision record as JSON; "" for none.
    """

    input: Input
    record: dict[str, Any]
    page: str
    json: str
    warnings: tuple[str, ...]
    decision: str = ""


@dataclass(frozen=True)
class Results:
    """The files of one call of the command.

    Attributes:
        folder: of all files.
        checkpoint: kept in each record.
        top: number of units in lines and pages.
        stems: name of each input's page, without ending.
        paged: the inputs with a page.
        curves: of a model whose units are functions of columns, for the pages.
        locale: language of the sentences.
        recorder: makes decision records; None for none.
    """

    folder: Path
    checkpoint: str
    top: int
    stems: Mapping[Input, str]
    paged: Set[Input]
    curves: tuple[Curve, ...] = ()
    locale: str = "en"
    recorder: Recorder | None = None

    def has_page(self, file: Input) -> bool:
        """Whether a page is written for an input."""
        return file in self.paged

    def record(self, file: Input, one: Explanation) -> Result:
        """Everything that is written for an input.

        Raises:
            ValueError: the explanation has numbers that are not finite.
        """
        answer = answer_of(one)
        title = self.stems[file] if isinstance(file, Literal) else file.name
        about = {"input": str(file), "checkpoint": self.checkpoint, "title": title, "answer": answer}
        warnings = one.warnings[0] if one.warnings else ()
        about["sentence"] = one.sentence(self.locale)
        line = about | {"modified": modified(file)} | one.to_dict(self.top)[0]
        decision = "" if self.recorder is None else to_json(self.recorder.record(file), indent=1)
        if decision:
            line["record"] = f"{self.stems[file]}{RECORD}"
        to_json(line)  # raises for numbers that JSON does not have
        if not self.has_page(file):
            return Result(file, line, "", "", warnings, decision)
        line["page"] = f"{self.stems[file]}.html"
        complete = to_json({**about, **one.to_dict()[0]}, indent=1)
        shown = page(one, [title], top=self.top, curves=self.curves, locale=self.locale)
        return Result(file, line, shown, complete, warnings, decision)

    def write(self, result: Result) -> str:
        """Writes the page, the complete JSON and the decision record of an input that has them; returns what to print.

        Raises:
            OSError: a file could not be written.
        """
        if result.decision:
            write_text(self.folder / result.record["record"], result.decision + "\n")
        if not result.page:
            return ""
        target = self.folder / result.record["page"]
        write_text(target, result.page)
        write_text(target.with_suffix(".json"), result.json)
        said = f"{short(result.input)} -> {printable(result.record['answer'])} -> {printable(target)}"
        return f"{said}\n{_indented(result.record['sentence'])}" if len(self.paged) <= SPOKEN else said


def _indented(text: str) -> str:
    """A text in lines, below the line of its input."""
    return fill(printable(text), WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def short(file: Input) -> str:
    """The name of an input, or the beginning of a text, for a message."""
    name = printable(file)
    return f"{name[:LONGEST]}…" if isinstance(file, Literal) and len(name) > LONGEST else name
