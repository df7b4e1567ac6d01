"""Start-up times, and the fraction of a small fit that is spent in training steps.

All values are of new processes. The time of a fit is taken from Lightning's simple profiler: a training step is the
forward and backward pass and the optimizer step, with its metrics and logging; it excludes data loading, validation,
push, checkpoints and the progress bar. Imports, the test and the checkpoint after the fit count for the process.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import wraps
from pathlib import Path

import torch

from benchmarks.harness import Case, Goal, Reading

ROOT = Path(__file__).resolve().parents[2]
PAGES = (("--help",), ("fit", "--help"), ("list", "models"), ("list", "checkpoints"))
SMALL = ("--config", "configs/prototypes/protopnet_digits.yaml")
LARGER = ("--config", "configs/parts/bagnet_mnist.yaml", "--trainer.max_epochs", "1")
PROCESSES = 5  # for each page
SMALL_BOUND = (
    "steps on 64 images of 8 x 8 pixels are very short; validation batches (a seventh as many), Lightning's hooks "
    "between steps and the import of scikit-learn take the rest"
)
PARTS = {  # what the profiler calls it
    "data": ("train_dataloader_next",),
    "validation": ("validation_step", "val_next"),
    "starts of epochs, including push": ("on_train_epoch_start",),
    "checkpoints and progress bar": ("[Callback]",),
}


def python(*arguments: str) -> str:
    """What a fresh Python prints, run in the checkout with as many threads as this one.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": str(ROOT)}
    environment = os.environ | threads
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def seconds(*arguments: str) -> float:
    """Of one run of `train.py`."""
    start = time.perf_counter()
    python("train.py", *arguments)
    return time.perf_counter() - start


def timed_fit(*arguments: str) -> None:
    """Runs `train.py fit` in this process; its last line is JSON: seconds of the fit and of its parts."""
    from lightning import Trainer

    from zoo.cli.main import main

    fit, spent = Trainer.fit, {}

    @wraps(fit)  # LightningCLI reads its arguments
    def clocked(self: Trainer, *given, **named) -> None:
        start = time.perf_counter()
        fit(self, *given, **named)
        spent["fit"] = time.perf_counter() - start
        durations = self.profiler.recorded_durations  # pyright: ignore[reportAttributeAccessIssue]
        spent["steps"] = sum(durations["run_training_batch"])
        for part, names in PARTS.items():
            spent[part] = sum(sum(d) for name, d in durations.items() if any(n in name for n in names))

    Trainer.fit = clocked
    failed = main(["fit", *arguments, "--trainer.profiler", "simple"])
    if failed:
        sys.exit(failed)
    print(json.dumps(spent))


def fits(what: str, arguments: tuple[str, ...], goal: Goal | None = None, missed: str = "") -> Iterator[Reading]:
    with tempfile.TemporaryDirectory() as folder:
        given = [*arguments, "--output", f"{folder}/run"]
        start = time.perf_counter()
        said = python("-c", f"from benchmarks.speed.startup import timed_fit; timed_fit(*{given})")
        whole = time.perf_counter() - start
    spent = json.loads(said.splitlines()[-1])
    fit, steps = spent.pop("fit"), spent.pop("steps")
    yield Reading(f"{what}: training steps, of the fit", 100 * steps / fit, "%", goal, missed)
    yield Reading(f"{what}: training steps, of the process", 100 * steps / whole, "%")
    for part, taken in spent.items():
        yield Reading(f"{what}: {part}, of the fit", 100 * taken / fit, "%")
    yield Reading(f"{what}: the fit", fit, "s")
    yield Reading(f"{what}: imports, test and checkpoint", whole - fit, "s")


def cases(device: torch.device) -> Iterator[Case | Reading]:
    yield Case(
        "to import all names of the zoo",
        {
            "zoo": lambda: python("-c", "from zoo import *"),
            "lightning and timm only": lambda: python("-c", "import lightning, timm"),
        },
        cost=True,
        goal=Goal(at_most=1.2),
        apart=None,
        memory=False,
    )
    for page in PAGES:
        goal = Goal(at_most=8) if page == ("--help",) else None
        took = statistics.median(seconds(*page) for _ in range(PROCESSES))
        yield Reading(f"train.py {' '.join(page)}", took, "s", goal)
    yield from fits("ProtoPNet on digits", SMALL, Goal(at_least=80), SMALL_BOUND)
    if (Path(os.environ.get("ZOO_DATA", "data")) / "mnist").is_dir():
        yield from fits("BagNet on MNIST, an epoch", LARGER)
