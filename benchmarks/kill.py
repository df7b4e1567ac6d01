"""Kills a small fit at many moments and resumes it: `python -m benchmarks.kill`.

A fit with four stages and a checkpoint after every epoch runs to its end once. Then the same fit is killed with
SIGKILL: at moments spread over that time, and inside writes, when a temporary file appears or has its first bytes. Each
killed run is resumed with `--ckpt_path last`, or begun anew if no epoch was complete. All tensors of its checkpoints,
those of the optimizer among them, are then compared bit for bit with the uninterrupted run. Prints a row for each
moment; exits with 1 if a run could not be resumed or a tensor differs. Takes about three minutes on a free core.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

import zoo.cli.fit
import zoo.data.real.digits
import zoo.prototypes.protopnet  # noqa: F401 (loaded once, for all the processes that are forked)
from zoo.cli.main import main as train
from zoo.cli.run_folder import LOCK
from zoo.training.callbacks import read_checkpoint
from zoo.utils.yaml_files import dump_yaml

STAGES = [
    {"name": "warm", "epochs": 2, "train": ["addon", "prototypes"]},
    {"name": "joint", "epochs": 3, "train": ["backbone", "addon", "prototypes"]},
    {"name": "push"},
    {"name": "last", "epochs": 3, "train": ["head"]},
]
EPOCHS = [stage["name"] for stage in STAGES for _ in range(int(stage.get("epochs", 0)))]
CONFIG = {
    "model": {
        "class_path": "ProtoPNet",
        "init_args": {
            "backbone": {"name": "convnet", "widths": [4], "pool": [0]},
            "prototypes_per_class": 1,
            "dim": 4,
            "thumbnail": 8,
            "recipe": {"lr": 0.01, "stages": STAGES},
        },
    },
    "data": {"class_path": "Digits", "init_args": {"batch_size": 128, "augment": "shift"}},
    "trainer": {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False},
}
POLL = 5e-4  # seconds between two looks at the folder
TRIES = 10  # for a moment that was missed: the write was over, or the fit


@dataclass(frozen=True)
class Moment:
    """When to kill: after a time in seconds, or in a write, counted from 1."""

    seconds: float | None = None
    write: int | None = None

    def __str__(self) -> str:
        return f"write {self.write}" if self.seconds is None else f"{self.seconds:.2f} s"


def main() -> int:
    """Returns 0 if every resumed run equals the uninterrupted one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=24, help="half of them inside writes (default: 24)")
    options = parser.parse_args()
    if options.moments < 2:
        parser.error(f"--moments must be at least 2; got {options.moments}")
    torch.set_num_threads(1)  # a process with threads cannot be forked safely
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "fit.yaml").write_text(dump_yaml(CONFIG), encoding="utf-8")
        start = time.perf_counter()
        process = begin(root / "whole")
        writes = sum(1 for _ in writing(root / "whole", process))
        duration = time.perf_counter() - start
        if process.exitcode:
            print(f"the uninterrupted fit failed:\n{said(root / 'whole')}", file=sys.stderr)
            return 1
        expected = tensors(root / "whole")
        print(f"uninterrupted: {duration:.2f} s, {len(EPOCHS)} epochs, {writes} writes seen, {len(expected)} tensors")
        print(f"{'moment':>9}  {'killed in':<44} {'epochs kept':>11}  equal")
        different = 0
        for moment in tqdm(moments(options.moments, duration, writes), unit="moment", disable=None):
            killed, kept, equal = tried(root, moment, expected)
            different += equal != "yes"
            tqdm.write(f"{moment!s:>9}  {killed:<44} {kept:>11}  {equal}", file=sys.stdout)
            sys.stdout.flush()
    print(f"{options.moments - different} of {options.moments} equal")
    return 1 if different else 0


def moments(count: int, duration: float, writes: int) -> list[Moment]:
    """Half in time, half in writes, both evenly spread."""
    inside = (count + 1) // 2
    timed = [Moment(seconds=duration * (i + 0.5) / (count - inside)) for i in range(count - inside)]
    return [*timed, *(Moment(write=1 + i * writes // inside) for i in range(inside))]


def tried(root: Path, moment: Moment, expected: Mapping[str, Tensor]) -> tuple[str, int, str]:
    """Kills and resumes a fit: what it was doing, the epochs that were kept, and whether all tensors are equal."""
    for attempt in range(TRIES):
        folder = root / f"{moment}-{attempt}".replace(" ", "-")
        if kill(folder, moment, attempt):
            break
    else:
        return f"missed {TRIES} times", 0, "not tried"
    last = folder / "last.ckpt"
    kept = read_checkpoint(last)["epoch"] + 1 if last.exists() else 0
    doing = activity(folder, kept)
    process = begin(folder, *(["--ckpt_path", "last"] if last.exists() else ["--overwrite", "true"]))
    process.join()
    if process.exitcode:
        return doing, kept, f"NO: resuming failed\n{said(folder)}"
    found = tensors(folder)
    wrong = [name for name in {**expected, **found} if not same(expected.get(name), found.get(name))]
    return doing, kept, f"NO: {len(wrong)} tensors differ, such as {wrong[0]}" if wrong else "yes"


def kill(folder: Path, moment: Moment, attempt: int) -> bool:
    """Begins a fit and kills it; whether it was still running and, if asked for, inside a write."""
    process = begin(folder)
    if moment.seconds is not None:
        process.join(moment.seconds * 0.8**attempt)
    else:
        for number, part in enumerate(writing(folder, process), 1):
            if number == moment.write:
                while number % 2 and empty(folder / part) and process.is_alive():
                    time.sleep(POLL)  # every other kill waits for the first bytes
                break
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL and (moment.write is None or bool(temporary(folder)))


def activity(folder: Path, kept: int) -> str:
    """What a killed fit was doing, by what it left."""
    parts = sorted(temporary(folder))
    if parts:
        files = [f for part in parts for f in [folder / part, *(folder / part).glob("*")] if f.is_file()]
        return f"write of {', '.join(map(title, parts))}, at {sum(f.stat().st_size for f in files):,} bytes"
    if kept == len(EPOCHS):
        return "test and checkpoint"
    return f"epoch {kept + 1}, stage '{EPOCHS[kept]}'" if kept else "start, or epoch 1"


def title(part: str) -> str:
    """The name of the file that a temporary file becomes."""
    return part.removesuffix(".part").lstrip(".").rpartition(".")[0] if part.startswith(".") else part[:-5]


def begin(folder: Path, *options: str) -> ForkProcess:
    """A fit in a process of its own; what it prints is in FOLDER.log."""
    process = get_context("fork").Process(target=run, args=(folder, options))
    process.start()
    return process


def run(folder: Path, options: tuple[str, ...]) -> None:
    log = os.open(f"{folder}.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.exit(train(["fit", "--config", str(folder.parent / "fit.yaml"), "--output", str(folder), *options]))


def said(folder: Path) -> str:
    """The end of what the fits of a folder have printed."""
    return Path(f"{folder}.log").read_text(encoding="utf-8")[-1000:]


def writing(folder: Path, process: ForkProcess) -> Iterator[str]:
    """The temporary files of a running fit, each as soon as it is seen."""
    before: set[str] = set()
    while process.is_alive():
        now = temporary(folder)
        yield from now - before
        before = now
        time.sleep(POLL)


def empty(path: Path) -> bool:
    """Whether a file is there and has no bytes."""
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return False


def temporary(folder: Path) -> set[str]:
    """Names of files and folders that get their names when they are complete."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return {name for name in names if name.endswith(".part") or name.startswith(".")} - {LOCK}


def tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of the checkpoints of a run, by file and place."""
    found = {f"checkpoint {name}": t for name, t in load_file(folder / "checkpoint" / "model.safetensors").items()}
    for name in ("best.ckpt", "last.ckpt"):
        found.update(within(read_checkpoint(folder / name), name))
    return {name.replace(str(folder), "RUN"): tensor for name, tensor in found.items()}  # some keys are paths


def within(content: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield place, content
    elif isinstance(content, Mapping | list | tuple):
        for key, value in content.items() if isinstance(content, Mapping) else enumerate(content):
            yield from within(value, f"{place} {key}")


def same(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether both are there and have the same type, shape and bits."""
    if one is None or other is None or (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    first, second = (t.contiguous().flatten().view(torch.uint8) for t in (one, other))
    return first.equal(second)


if __name__ == "__main__":
    sys.exit(main())
