"""explanations.jsonl: one line for each explained input, appended so that an interrupted command can resume."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from zoo.domain.inputs import last_change

LOG = "explanations.jsonl"
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
        self.path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def _read(self) -> list[str]:
        """The lines to keep; their records are entered."""
        if not self.path.is_file():
            return []
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if record.get("options") != self.options:
                self.records.clear()
                return []
            if record.get("modified") is not None and record["modified"] == last_change(record["input"]):
                self._enter(record)
                kept.append(line)
        return kept

    def write(self, record: dict[str, Any], opened: TextIO) -> None:
        """Appends a record to the log, opened for appending."""
        self._enter(record)
        opened.write(json.dumps({**record, "options": self.options}, ensure_ascii=False) + "\n")

    def _enter(self, record: dict[str, Any]) -> None:
        self.records[record["input"]] = {name: record[name] for name in INDEXED if "page" in record}

    def pages(self) -> list[tuple[str, str]]:
        """File name of each page, and its title in the index."""
        shown = [record for record in self.records.values() if "page" in record]
        return [(record["page"], f"{record['title']}: {record['answer']}") for record in shown]
