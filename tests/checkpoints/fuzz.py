"""Loads damaged and hostile checkpoints, each in a process of its own with bounded memory and time, and counts faults.

    python -m tests.checkpoints.fuzz --cases 400

A case that is neither loaded nor refused with a clear error, which names the folder, is printed with its number;
`--first N --cases 1` repeats it. The exit code is 1 if there was one.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import zoo
from tests.checkpoints.damage import damage
from tests.small_models import of_subwords
from zoo.checkpoints.config_file import GOLDEN
from zoo.checkpoints.golden import golden_inputs
from zoo.checkpoints.pretrained import find
from zoo.checkpoints.tensor_files import read_tensors
from zoo.checkpoints.verify import verify
from zoo.core.module import SelfInterpretable

SHIPPED = (
    *("protopnet-mnist", "prototree-cub50", "cbm-part-birds", "dcr-xor", "rrl-xor", "c3m-cebab", "senn-mnist"),
    *("sop-motions", "sop-sst2", "sparse-idioms", "bridge-idioms"),
)
CODE = ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "ctypes.dlopen")
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.sendto")
SECONDS, MEGABYTES = 10, 1_000
CLEAR = (ValueError, FileNotFoundError, ImportError)
FAULTS = ("executed code", "network", "> 1 GB", "> 10 s", "raw exception", "silently wrong", "killed")


def main() -> int:
    """Returns 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        intact = [find(name) for name in SHIPPED]
        for name in ("c3m", "sop"):
            given = {} if name == "c3m" else {"elements": {}, "grouping": {"groups": 4, "size": 0.5}}
            intact.append(zoo.save(of_subwords(name, **given).model, Path(place) / f"{name}-huggingface"))
        expected = [scores(zoo.load(folder), folder) for folder in intact]
        counts: Counter[str] = Counter()
        for number in tqdm(range(options.first, options.first + options.cases), disable=not sys.stderr.isatty()):
            i = number % len(intact)
            found = run(Path(place), intact, i, number, expected[i])
            counts[found["ended"]] += 1
            counts.update(found["faults"])
            if found["faults"]:
                print(f"case {number}, {intact[i].name}: {', '.join(found['faults'])}; {found}", flush=True)
    print(f"{options.cases} cases of {len(intact)} models: {counts['refused']} refused, {counts['loaded']} loaded")
    print(", ".join(f"{fault}: {counts[fault]}" for fault in FAULTS))
    return 1 if any(counts[fault] for fault in FAULTS) else 0


def run(place: Path, intact: list[Path], i: int, number: int, expected: torch.Tensor) -> dict[str, Any]:
    """Damages a copy of a checkpoint and loads it in a forked process."""
    read, write = os.pipe()
    if not (child := os.fork()):
        os.close(read)
        report: dict[str, Any] = {"ended": "died", "what": "", "faults": ["raw exception"]}
        try:
            report = attempt(place / f"case-{number}", intact, i, number, expected)
        finally:
            os.write(write, json.dumps(report).encode()[:60_000])
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return json.loads(said) if said else {"ended": "killed", "faults": ["killed"], "status": status}


def attempt(folder: Path, intact: list[Path], i: int, number: int, expected: torch.Tensor) -> dict[str, Any]:
    """What happens when a damaged checkpoint is loaded and explains its golden inputs."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # messages of panics
    case = damage(folder, intact[i], number, intact)
    events: list[str] = []
    sys.addaudithook(lambda event, _: events.append(event) if event in (*CODE, *NETWORK) else None)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 4 * MEGABYTES * 10**6,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (6 * SECONDS,) * 2)
    before, start = peak(), time.process_time()
    ended, error, wrong = "refused", "", False
    try:
        model = zoo.load(folder)
        ended = "loaded"
    except BaseException as problem:  # also panics
        clear = isinstance(problem, CLEAR) and (isinstance(problem, ImportError) or str(folder) in str(problem))
        ended, error = ("refused" if clear else "raw"), f"{type(problem).__name__}: {problem}"[:300]
    seconds, megabytes = time.process_time() - start, (peak() - before) / 1e3
    if ended == "loaded":
        wrong = silently_wrong(model, folder, expected, case.what, case.hidden)
    faults = {
        "executed code": any(event in CODE for event in events),
        "network": any(event in NETWORK for event in events),
        "> 1 GB": megabytes > MEGABYTES,
        "> 10 s": seconds > SECONDS,
        "raw exception": ended == "raw",
        "silently wrong": wrong,
    }
    told = {"ended": ended, "what": case.what, "error": error, "seconds": seconds, "megabytes": megabytes}
    return {**told, "events": events[:5], "faults": [fault for fault, there in faults.items() if there]}


def silently_wrong(model: SelfInterpretable, folder: Path, expected: torch.Tensor, what: str, hidden: bool) -> bool:
    """Whether a model gives other scores than the intact one, although `zoo check` finds nothing.

    Another domain or other weights with right hashes and fitting golden explanations are another model, not damage.
    """
    try:
        same = torch.allclose(scores(model, folder), expected, rtol=1e-4, atol=1e-4)
        return not same and (not hidden or verify(folder) <= 1e-4)
    except (ValueError, ArithmeticError, RuntimeError, TypeError):
        return False


def scores(model: SelfInterpretable, folder: Path) -> torch.Tensor:
    """Scores of the golden inputs of a checkpoint."""
    return model.explain(golden_inputs(model, read_tensors(folder / GOLDEN)["inputs"][:2])).scores


def peak() -> int:
    """Largest memory of this process so far, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
