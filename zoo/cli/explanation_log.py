"""explanations.jsonl: one line for each explained input, appended so that an interrupted command can resume.

Of several processes, each appends to a part of its own, and the last to finish joins the parts in the order of the
inputs. Inputs are explained in batches of fixed members, so that a line does not depend on who wrote it, and when.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

from zoo.domain.inputs import Input, last_change
from zoo.utils.atomic import replacing, write_text
from zoo.utils.json_text import to_json
from zoo.utils.shards import Shard, earlier_parts

LOG = "explanations.jsonl"
RECORD = ".record.json"  # ending of decision records
FILES = ("page", "record")  # keys of a record that name files
INDEXED = ("page", "title", "answer")  # what the index of pages needs; the rest of a record stays on disk
START = '{"input": '  # of each line


class ExplanationLog:
    """The records of explained inputs, by input.

    Records of an earlier call are kept if it had the same options; those of changed files are dropped, and the batch of
    a line that is cut off.

    Args:
        folder: of the log.
        options: that determine an explanation; kept with each record.
        inputs: of this call, in the order of the log. Records of other inputs come first.
        batch: number of consecutive inputs that are explained together.
        shard: the share of this process.
        restart: drop all earlier records.
    """

    def __init__(
        self,
        folder: Path,
        options: Mapping[str, str],
        inputs: Sequence[Input],
        batch: int,
        shard: Shard,
        restart: bool,
    ) -> None:
        self.whole, self.options, self.shard = folder / LOG, dict(options), shard
        self.inputs, self.batch = inputs, batch
        self.path = self.whole if shard.world == 1 else shard.part(self.whole)
        self.places = {str(file): place for place, file in enumerate(inputs)}
        self.records: dict[str, dict[str, Any]] = {}
        lines: dict[str, str] = {}  # those that go into the file of this process
        if not restart or shard.attempt:  # what an earlier attempt of this very call explained is kept
            for path in (self.whole, *earlier_parts(self.whole)):
                self._read(path, lines)
        names = sorted(self.records, key=self._place)
        self.records = {name: self.records[name] for name in names}
        write_text(self.path, "".join(f"{lines[name]}\n" for name in names if name in lines))
        if shard.world == 1:
            self._remove_parts()

    def rest(self) -> list[list[Input]]:
        """The inputs that this process is to explain, by batch."""
        mine = (
            (place // self.batch, file)
            for place, file in enumerate(self.inputs)
            if self._is_own(place) and str(file) not in self.records
        )
        return [[file for _, file in batch] for _, batch in groupby(mine, key=itemgetter(0))]

    def write(self, records: Iterable[dict[str, Any]]) -> None:
        """Appends the records of a batch."""
        lines = []
        for record in records:
            self._enter(record)
            lines.append(to_json({**record, "options": self.options}) + "\n")
        with self.path.open("a", encoding="utf-8") as opened:
            opened.write("".join(lines))

    def join(self) -> None:
        """Puts the lines of all processes in the order of the inputs, when all are there."""
        places = [self._place(name) for name in self.records]
        if self.shard.world == 1 and places == sorted(places):
            return
        self.records.clear()
        with ExitStack() as stack, replacing(self.whole) as joined:
            paths = [self.whole] if self.shard.world == 1 else self.shard.parts(self.whole)
            files = [stack.enter_context(path.open("rb")) for path in paths]
            index = [(self._place(name_of(line)), n, at) for n, file in enumerate(files) for at, line in lines_of(file)]
            for _, n, at in sorted(index):
                files[n].seek(at)
                joined.write(line := files[n].readline())
                named = any(b'"%s": ' % name.encode() in line for name in FILES)  # or in a text; parsing decides
                self._enter(json.loads(line) if named else {"input": name_of(line)})
        self._remove_parts()

    def _place(self, name: str) -> int:
        """Number of an input; -1 for one of an earlier call."""
        return self.places.get(name, -1)

    def _is_own(self, place: int) -> bool:
        return self.shard.first if place < 0 else self.shard.owns(place // self.batch)

    def _remove_parts(self) -> None:
        for part in earlier_parts(self.whole):
            part.unlink(missing_ok=True)

    def _read(self, path: Path, lines: dict[str, str]) -> None:
        """Enters the current records of a file; adds the lines of this process."""
        found: dict[str, dict[str, Any]] = {}
        content = path.read_bytes() if path.is_file() else b""
        for line in content.split(b"\n"):  # names may contain other separators
            try:
                record = json.loads(line)
            except ValueError:  # cut off, or not text
                continue
            if not isinstance(record, dict) or record.get("options") != self.options:
                return
            if not self._is_current(record):
                continue
            if self._is_own(self._place(record["input"])):
                lines[record["input"]] = line.decode()
            found[record["input"]] = indexed(record)
        if content and not content.endswith(b"\n"):
            for name in self._cut_off(list(found)):
                del found[name]
                lines.pop(name, None)
        self.records |= found

    def _cut_off(self, names: list[str]) -> list[str]:
        """The last of these inputs that are of one batch, which was interrupted: it is explained together again."""
        batch = self._place(names[-1]) // self.batch if names else -1
        return [name for name in names if self._place(name) // self.batch == batch >= 0]

    def _is_current(self, record: dict[str, Any]) -> bool:
        """Whether the input is unchanged, and its page and decision record, if it has them, are there."""
        changed = record.get("modified")
        files = [record[name] for name in FILES if name in record]
        return (
            changed is not None
            and changed == last_change(record["input"])
            and all((self.whole.parent / file).is_file() for file in files)
        )

    def _enter(self, record: dict[str, Any]) -> None:
        self.records[record["input"]] = indexed(record)

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


def indexed(record: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a record in memory."""
    kept = INDEXED if "page" in record else ()
    return {name: record[name] for name in (*kept, "record") if name in record}


def name_of(line: bytes) -> str:
    """The input of a line, without reading the rest of it."""
    return json.JSONDecoder().raw_decode(line.decode(), len(START))[0]


def lines_of(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, with the place where each begins."""
    at = 0
    for line in file:
        yield at, line
        at += len(line)
