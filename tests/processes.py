"""Code in processes of their own, which may be killed, without importing everything anew for each of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVER = """
import json, os, signal, sys
import torch
from sklearn.datasets import load_digits
import zoo.api, zoo.cli.main, zoo.cli.fit, zoo.data.real.digits, zoo.prototypes.protopnet

load_digits()  # what a training on digits imports besides, so that no child does it again
torch.set_num_threads(1)
for line in sys.stdin:
    code, said = json.loads(line)
    child = os.fork()
    if not child:
        signal.alarm(400)  # no test waits for ever
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(said, os.O_WRONLY), 1)
        os.dup2(1, 2)
        exec(code, {"__name__": "__main__"})
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Server:
    """A process that has imported zoo, and forks one for each code that it is given.

    Sets are ordered by its `hash_seed`; what one process leaves for another, and what two must agree on, is best tried
    with two servers.
    """

    def __init__(self, hash_seed: int) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": str(hash_seed)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, code: str, folder: Path) -> tuple[int, str]:
        """How the process ended (minus the signal where one killed it), and all that it said."""
        assert self.process.stdin and self.process.stdout
        said = folder / "said.txt"
        said.write_text("")
        self.process.stdin.write(json.dumps([code, str(said)]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline()), said.read_text(encoding="utf-8")

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.kill()  # it waits for the next code, and would take seconds to leave by itself
        self.process.wait(timeout=60)
        self.process.stdin.close()
        self.process.stdout.close()
