"""A command in several processes, started by torchrun: each does its share, and the last to finish joins the results.

No process waits for another. Each appends what it has to a file of its own beside the result, its part, so that a
process that is killed loses only what it was just doing, and the same command goes on from the parts.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

RANK, WORLD, LAUNCHED = "RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"  # what torchrun sets
START = "torchrun --nproc-per-node 2 train.py ..."


def processes() -> int:
    """The number of processes of this command, by WORLD_SIZE; 1 if it is not set.

    Raises:
        ValueError: it is not a positive integer.
    """
    text = os.environ.get(WORLD, "1")
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"the environment variable {WORLD} must be a positive integer; got '{text}'. Unset it.")
    return int(text)


@dataclass(frozen=True)
class Shard:
    """The share of this process in numbered pieces of work: rank, rank + world, rank + 2 world, ...

    Attributes:
        rank: number of this process.
        world: number of processes.
        attempt: how often torchrun has restarted them (`--max-restarts`).
    """

    rank: int = 0
    world: int = 1
    attempt: int = 0

    @classmethod
    def of_environment(cls) -> "Shard":
        """The share that torchrun gives to this process; all of the work without torchrun.

        Raises:
            ValueError: there are several processes, but they were not started by torchrun, or variables contradict.
        """
        if (world := processes()) == 1:
            return cls()
        rank = os.environ.get(RANK, "")
        if LAUNCHED not in os.environ or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            raise ValueError(
                f"{WORLD} is {world}, but torchrun, which lets the processes find each other, did not start them; use "
                f"{START}, or unset {WORLD} for one process."
            )
        if not rank.isdigit() or int(rank) >= world:
            raise ValueError(f"{RANK} must be a number from 0 to {world - 1}; got '{rank}'.")
        return cls(int(rank), world, int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")))

    @property
    def first(self) -> bool:
        """Whether this process has number 0, which does and says what is to happen once."""
        return self.rank == 0

    def owns(self, number: int) -> bool:
        """Whether a piece of work belongs to this process."""
        return number % self.world == self.rank

    def part(self, path: Path) -> Path:
        """The file of this process for its part of a result: hidden, beside it."""
        return path.with_name(f".{path.name}.{self.rank}-of-{self.world}")

    def parts(self, path: Path) -> list[Path]:
        """The files of all processes for a result, in their order."""
        return [Shard(rank, self.world).part(path) for rank in range(self.world)]

    def after_first(self, name: str, work: Callable[[], Any] | None = None) -> None:
        """Does something in the first process; the others wait until it is done there.

        Args:
            name: of the work, unique within the command.
            work: to be done once; None if the first process has done it.
        """
        if self.first and work is not None:
            work()
        if self.world > 1:
            store = _store(self.attempt)
            store.set(name, "done") if self.first else store.wait([name])

    def finish(self, name: str, **counts: int) -> dict[str, int] | None:
        """Tells that this process has done its share.

        Args:
            name: of the work, unique within the command.
            **counts: numbers to be added up over all processes.

        Returns:
            The sums in the process that is the last to finish, which joins the parts; None in the others.
        """
        if self.world == 1:
            return counts
        store = _store(self.attempt)
        for what, number in counts.items():
            store.add(f"{name}/{what}", number)
        if store.add(f"{name}/finished", 1) < self.world:
            return None
        return {what: store.add(f"{name}/{what}", 0) for what in counts}


def launched() -> bool:
    """Whether torchrun started this process; Lightning starts processes of a fit without it."""
    return LAUNCHED in os.environ and processes() > 1


def earlier_parts(path: Path) -> Iterator[Path]:
    """All parts of a result that are there, also those of earlier calls with another number of processes."""
    start = f".{path.name}."
    for found in sorted(path.parent.iterdir()) if path.parent.is_dir() else ():
        rank, middle, world = found.name.removeprefix(start).partition("-of-")
        if found.name.startswith(start) and middle and rank.isdigit() and world.isdigit():
            yield found


def local_rank() -> int:
    """Number of this process among those of its machine; 0 for a single one."""
    text = os.environ.get("LOCAL_RANK", "0")
    return int(text) if text.isdigit() else 0


@cache
def _store(attempt: int) -> Any:
    """Keys and counters that the processes share; torchrun holds them, so that each process may end when it is done."""
    from datetime import timedelta

    from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    wait = timedelta(days=7)  # for the first process, which may have to download; torchrun ends all if one fails
    return PrefixStore(f"zoo/{attempt}", TCPStore(address, port, is_master=False, timeout=wait))
