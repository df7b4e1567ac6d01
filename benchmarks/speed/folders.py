"""Explaining a folder of images, as `train.py explain` does, compared with predicting it in batches.

Both read the same files with the checkpoint `protopnet-mnist`; explaining also writes a line for each image. Memory is
measured in a separate process for each folder.
"""

import io
import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import torch
from torchvision.io import write_png

import zoo
from benchmarks.harness import Case, Goal, Reading, peak_memory
from zoo.cli.explain import BATCH
from zoo.cli.explain import explain as explain_command

NAME, FEW, MANY = "protopnet-mnist", 200, 2000


def draw(folder: Path, count: int) -> Path:
    """A folder of images of noise."""
    folder.mkdir()
    noise = torch.Generator().manual_seed(0)
    for i in range(count):
        pixels = torch.randint(0, 256, (1, 28, 28), generator=noise, dtype=torch.uint8)
        write_png(pixels, str(folder / f"{i}.png"))
    return folder


@torch.no_grad()
def predict(folder: Path) -> None:
    model, files = zoo.load(NAME), sorted(folder.iterdir())
    for at in range(0, len(files), BATCH):
        model(torch.stack([model.domain.read(file) for file in files[at : at + BATCH]])).argmax(1).tolist()


def explain(folder: Path) -> None:
    quiet = io.StringIO()
    with tempfile.TemporaryDirectory() as out, redirect_stdout(quiet), redirect_stderr(quiet):
        explain_command(["--checkpoint", NAME, "--input", str(folder), "--output", out, "--pages", "0"])


def memory(few: Path, folder: Path) -> float:
    """MiB at the peak beyond what explaining a few images set up."""
    explain(few)
    return peak_memory(lambda: explain(folder), torch.device("cpu")) or 0.0


def cases(device: torch.device) -> Iterator[Case | Reading]:
    with tempfile.TemporaryDirectory() as place:
        folders = {count: draw(Path(place) / str(count), count) for count in (FEW, MANY)}
        ways = {"explain": partial(explain, folders[MANY]), "predict": partial(predict, folders[MANY])}
        yield Case(f"{MANY:,} images", ways, "explain", cost=True, goal=Goal(at_most=1.67), apart=None, memory=False)
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # a fresh process for each
            peaks = {count: pool.apply(memory, (folders[FEW], folder)) for count, folder in folders.items()}
            pool.close()
            pool.join()
    for count, peak in peaks.items():
        yield Reading(f"peak memory, {count:,} images", peak, "MiB")
