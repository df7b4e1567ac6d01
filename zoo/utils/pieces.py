"""Results of numbered pieces of work, kept on the disk as they are ready, so that an interrupted command resumes."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json
from zoo.utils.progress import track
from zoo.utils.shards import Shard, earlier_parts

DTYPES = {"float64": torch.float64, "float32": torch.float32, "int64": torch.int64, "bool": torch.bool}


class Pieces:
    """Pieces of work that the processes of a command share; each result is a line of JSON in the part of its process.

    Args:
        path: of the result that is made of all pieces; the parts lie beside it until `clear`.
        identity: what the results depend on; those of another identity are dropped.
        count: number of pieces.
        shard: the share of this process.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], count: int, shard: Shard) -> None:
        self.path, self.count, self.shard = path, count, shard
        self.identity = hashlib.sha256(to_json(dict(identity)).encode()).hexdigest()
        path.parent.mkdir(parents=True, exist_ok=True)
        self.ready = {number for part in earlier_parts(path) for number in self._read(part)}

    def run(self, work: Callable[[int], Any], title: str = "", unit: str = "piece") -> list[Any] | None:
        """Does the pieces of this process that are not ready.

        Args:
            work: does one piece; its result is plain data.
            title: of the progress bar of the first process; empty for none.
            unit: one piece.

        Returns:
            The results of all pieces in order, in the last process to finish; None in the others.

        Raises:
            RuntimeError: results have disappeared meanwhile.
        """
        rest = [number for number in range(self.count) if self.shard.owns(number) and number not in self.ready]
        part = self.shard.part(self.path)
        write_text(part, "".join(self._line(*one) for one in self._read(part).items()))
        with part.open("a", encoding="utf-8") as opened:
            for number in track(rest, title, unit=unit, shown=bool(title) and self.shard.first):
                opened.write(self._line(number, work(number)))
                opened.flush()
        if self.shard.finish(self.path.name) is None:
            return None
        found: dict[int, Any] = {}
        for part in earlier_parts(self.path):
            found |= self._read(part)
        if lost := [number for number in range(self.count) if number not in found]:
            raise RuntimeError(
                f"{len(lost)} of {self.count} parts of {self.path} are missing (the first is {lost[0]}): all processes "
                "must see the same folder; run the command again to complete it."
            )
        return [found[number] for number in range(self.count)]

    def clear(self) -> None:
        """Removes the parts, when the result is written."""
        for part in earlier_parts(self.path):
            part.unlink(missing_ok=True)

    def _line(self, number: int, result: Any) -> str:
        return to_json({"identity": self.identity, "piece": number, "result": result}) + "\n"

    def _read(self, part: Path) -> dict[int, Any]:
        """The results of a part; a line that was cut off is left out."""
        found = {}
        for line in part.read_bytes().split(b"\n") if part.is_file() else ():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and record.get("identity") == self.identity:
                found[record["piece"]] = record["result"]
        return found


def tensor_to_plain(tensor: Tensor) -> dict[str, Any]:
    """A tensor as plain data, bit by bit."""
    dtype = next(name for name, known in DTYPES.items() if known == tensor.dtype)
    content = base64.b64encode(tensor.detach().cpu().contiguous().numpy().tobytes()).decode()
    return {"dtype": dtype, "shape": list(tensor.shape), "data": content}


def tensor_of_plain(plain: Mapping[str, Any]) -> Tensor:
    """The tensor that `tensor_to_plain` wrote.

    Raises:
        ValueError, KeyError: it did not write this.
    """
    content = bytearray(base64.b64decode(plain["data"]))
    if not content:
        return torch.empty(plain["shape"], dtype=DTYPES[plain["dtype"]])
    return torch.frombuffer(content, dtype=DTYPES[plain["dtype"]]).reshape(plain["shape"])
