"""explanations.jsonl: one line for each explained input, appended so that an interrupted command can resume."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from zoo.domain.inputs import last_change
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json

LOG = "explanations.jsonl"
RECORD = ".record.json"  # ending of decision records
FILES = ("page", "record")  # keys of a record that name files
INDEXED = ("page", "title", "answer")  # what the index of pages needs; the rest of a record stays on disk


class ExplanationLog:
    """The records of explained inputs, by input.

    Records of an earlier call are kept if it had the same options; those of changed files, and lines that are cut off,
    are dropped.

    Args:
        folder: of the log.
        options: that determine an explanation; kept with each record.
        restart: drop all earlier records.
    """

    def __init__(self, folder: Path, options: Mapping[str, str], restart: bool) -> None:
        self.path, self.options = folder / LOG, dict(options)
        self.records: dict[str, dict[str, Any]] = {}
        lines = [] if restart else self._read()
        write_text(self.path, "".join(f"{line}\n" for line in lines))

    def _read(self) -> list[str]:
        """The lines to keep; their records are entered."""
        if not self.path.is_file():
            return []
        kept = []
        for line in self.path.read_bytes().split(b"\n"):  # names may contain other line separators
            try:
                record = json.loads(line)
            except ValueError:  # cut off, or not text
                continue
            if not isinstance(record, dict) or record.get("options") != self.options:
                self.records.clear()
                return []
            if self._is_current(record):
                self._enter(record)
                kept.append(line.decode())
        return kept

    def _is_current(self, record: dict[str, Any]) -> bool:
        """Whether the input is unchanged, and its page and decision record, if it has them, are there."""
        changed = record.get("modified")
        files = [record[name] for name in FILES if name in record]
        return (
            changed is not None
            and changed == last_change(record["input"])
            and all((self.path.parent / file).is_file() for file in files)
        )

    def write(self, record: dict[str, Any], opened: TextIO) -> None:
        """Appends a record to the log, opened for appending."""
        self._enter(record)
        opened.write(to_json({**record, "options": self.options}) + "\n")

    def _enter(self, record: dict[str, Any]) -> None:
        kept = INDEXED if "page" in record else ()
        self.records[record["input"]] = {name: record[name] for name in (*kept, "record") if name in record}

    def pages(self) -> list[tuple[str, str]]:
        """File name of each page, and its title in the index."""
        shown = [record for record in self.records.values() if "page" in record]
        return [(record["page"], f"{record['title']}: {record['answer']}") for record in shown]

    def stems(self) -> dict[str, str]:
        """Name of the page and of the decision record, without ending, of each input that has one."""
        return {
            name: record["page"].removesuffix(".html") if "page" in record else record["record"].removesuffix(RECORD)
            for name, record in self.records.items()
            if record
        }
