"""Commands in several processes, as torchrun starts them, in forks of the test's own process."""

import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from zoo.cli.main import main
from zoo.utils import shards


def torchrun_variables(rank: int, world: int, port: int) -> dict[str, str]:
    """What torchrun sets."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "none",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }


def launch(
    arguments: list[str], said: Path, world: int = 2, before: Callable[[int], None] = lambda rank: None
) -> list[int]:
    """Runs a command in several processes at the same time; returns how each ended (minus the signal that killed it).

    Args:
        arguments: of the command.
        said: file for all that they print.
        world: number of processes.
        before: called in each process with its rank.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
    children = []
    for rank in range(world):
        sys.stdout.flush()
        if child := os.fork():
            children.append(child)
            continue
        code = 99
        try:
            signal.alarm(120)  # no test waits for ever
            target = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(target, 1)
            os.dup2(target, 2)
            sys.stdout = os.fdopen(1, "w", closefd=False)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            os.environ.update(torchrun_variables(rank, world, store.port))
            shards._store.cache_clear()
            before(rank)
            code = main(arguments)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
