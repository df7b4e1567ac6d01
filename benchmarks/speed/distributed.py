"""Two processes compared with one, each with one thread and the same batch (weak scaling), over gloo on CPU.

Efficiency is the images per second of two processes divided by twice those of one; exchanging gradients, waiting, and
the caches and the memory bus that processes share reduce it. The control is two processes that train alone at the same
time: what is lost there is the machine's, and the ratio of both is what training together costs. Models are small, so a
step is short and the exchange matters; at published sizes it is hidden by the backward pass. `find_unused_parameters`,
which recipes with frozen groups need, traverses the graph once more in each step. CPU times are those of a step of one
of two processes, divided by a step of a single process. Projection reads the same images with two ranks as with one and
finds the same patches. `explain` exchanges nothing but counters; each process starts by itself, which counts for short
lists of inputs. Its CPU times are those of all processes, which other work on the machine does not change much.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import torch
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]
from torch.utils.data import DataLoader, Dataset
from torchvision.io import write_png

import zoo
from benchmarks.harness import Reading
from zoo.cli import explain as command
from zoo.cli.explanation_log import ExplanationLog
from zoo.data import CodeData
from zoo.domain import ImageDomain

BATCH, STEPS, FIRST = 32, 40, 8  # the first steps warm up
CHECKPOINT, IMAGES_TO_EXPLAIN = "protopnet-mnist", 1_600
ROOT = Path(__file__).resolve().parents[2]
SMALL = {"name": "convnet", "widths": [16, 32], "pool": [0, 1]}
CONCEPTS = tuple(f"concept {i}" for i in range(20))
IMAGES = ImageDomain(classes=tuple("0123456789"), concepts=CONCEPTS, size=(32, 32))
FAMILIES = {"protopnet": "ProtoPNet", "cbm": "CBM", "sop": "Sum-of-Parts", "sparse_transformer": "sparse transformer"}
CODE = {"width": 64, "layers": 2, "sparsity": {"density": 0.0625, "embedding_density": 0.125}}
RECIPES = {
    "protopnet": [
        {"name": "push"},
        {"name": "joint", "epochs": 1, "train": ["backbone", "addon", "prototypes"]},
        {"name": "push"},
        {"name": "last", "epochs": 1, "train": ["head"]},
    ],
    "cbm": [{"name": "joint", "epochs": 1, "train": ["backbone", "concepts", "head"]}],
    "sop": [{"name": "groups", "epochs": 1, "train": ["projection", "generator", "selector"]}],
    "sparse_transformer": [
        {"name": "anneal", "epochs": 1, "train": ["network"]},
        {"name": "sparse", "epochs": 1, "train": ["network"]},
    ],
}


class Noise(Dataset):
    """Images for two processes, the same for one."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        self.count = 2 * BATCH * STEPS
        self.inputs = torch.randn(self.count, *IMAGES.shape, generator=draw)
        self.concepts = torch.randint(0, 2, (self.count, len(CONCEPTS)), generator=draw).float()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"input": self.inputs[i], "target": i % 10, "concepts": self.concepts[i]}


class Watch(lightning.Callback):
    """Notes when steps of the first epoch end, by the clock and by the processor's time."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def on_train_batch_end(self, trainer: lightning.Trainer, *arguments: Any) -> None:
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())


def made(name: str) -> tuple[Any, dict[str, Any]]:
    """The model, and where its batches come from."""
    options: dict[str, Any] = {"recipe": {"stages": RECIPES[name]}}
    if name == "sparse_transformer":
        data = CodeData(idioms=1.0, vocabulary=300, length=64, windows=3 * BATCH * STEPS, batch_size=BATCH)
        options["recipe"]["lr"] = 0.05
        return zoo.create_model(name, domain=data.domain, **CODE, **options), {"datamodule": data}
    options |= {"protopnet": {"prototypes_per_class": 5, "dim": 64, "thumbnail": 8}}.get(name, {})
    options |= {"sop": {"elements": {"patch": 4}, "grouping": {"groups": 8}}}.get(name, {})
    model = zoo.create_model(name, domain=IMAGES, backbone=SMALL, **options)
    return model, {"train_dataloaders": DataLoader(Noise(), BATCH, shuffle=False)}


def work(name: str, processes: int, file: str) -> None:
    """Trains some steps, in each process, and writes what rank 0 measured."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    lightning.seed_everything(0, verbose=False)
    (model, given), watch, pushes = made(name), Watch(), []
    run_action = model.run_action

    def timed(action: str) -> None:
        start = time.perf_counter()
        run_action(action)
        if action == "push" and not pushes:
            found = model.prototypes.provenance
            pushes.append((time.perf_counter() - start, found.index.tolist(), found.cell.tolist()))

    model.run_action = timed
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=processes,
        strategy="auto" if processes == 1 else "ddp_find_unused_parameters_true",
        max_epochs=1,
        limit_train_batches=STEPS,
        limit_val_batches=0,
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, **given)
    if trainer.is_global_zero:
        wall, cpu = (torch.tensor(t[FIRST:], dtype=torch.float64).diff().tolist() for t in (watch.wall, watch.cpu))
        told = {"wall": statistics.median(wall), "cpu": statistics.median(cpu), "push": pushes}
        Path(file).write_text(json.dumps(told), encoding="utf-8")


def measured(name: str, processes: int, folder: str, alone: int = 1) -> dict[str, Any]:
    """What a run of its own measured.

    Args:
        name: of the model.
        processes: that train together.
        folder: for results.
        alone: runs at the same time, which know nothing of each other; the first one's numbers are returned.

    Raises:
        RuntimeError: it failed.
    """
    paths = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH", "")) if p)
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    files = [Path(folder) / f"{name}-{processes}-{alone}-{number}.json" for number in range(alone)]
    command = [sys.executable, "-m", "benchmarks.speed.distributed", name, str(processes)]
    running = [
        subprocess.Popen([*command, str(file)], env=environment, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        for file in files
    ]
    for process, file in zip(running, files, strict=True):
        _, said = process.communicate(timeout=600)
        if process.returncode or not file.is_file():
            raise RuntimeError(f"{name} in {processes} processes failed:\n{said[-2000:]}")
    return json.loads(files[0].read_text(encoding="utf-8"))


def explain_timed(file: str, arguments: list[str]) -> None:
    """Runs `explain`, and writes the CPU seconds of explaining, of joining, and of all."""
    spent = {"work": 0.0, "join": 0.0}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            start = time.process_time()
            found = function(*given)
            spent[name] += time.process_time() - start
            return found

        return run

    command.explain_files = timed("work", command.explain_files)
    ExplanationLog.join = timed("join", ExplanationLog.join)
    if code := command.explain(arguments):
        sys.exit(code)
    Path(file).write_text(json.dumps(spent | {"all": time.process_time()}), encoding="utf-8")


def explained(pictures: Path, processes: int, output: Path) -> list[dict[str, float]]:
    """What `explain_timed` measured in each of the processes that explain the images of a folder together.

    Raises:
        RuntimeError: one failed.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as torchrun has one
    known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "TORCHELASTIC_RUN_ID": "none"}
    known |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "WORLD_SIZE": processes, "OMP_NUM_THREADS": 1}
    known |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    asked = ["--checkpoint", CHECKPOINT, "--pages", "0", "--input", str(pictures), "--output", str(output)]
    running = []
    for rank in range(processes):
        file = output.with_name(f"{output.name}-{rank}.json")
        environment = {**os.environ, **{name: str(value) for name, value in known.items()}, "RANK": str(rank)}
        line = [sys.executable, "-m", "benchmarks.speed.distributed", "explain", str(file), *asked]
        running.append((subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, cwd=ROOT), file))
    codes = [process.wait(timeout=1200) for process, _ in running]
    if any(codes):
        raise RuntimeError(f"explain in {processes} processes failed.")
    return [json.loads(file.read_text(encoding="utf-8")) for _, file in running]


def explaining(folder: Path) -> Iterator[Reading]:
    """CPU time of explaining a folder, in one process and in two, and whether they write the same."""
    draw = torch.Generator().manual_seed(0)
    (folder / "images").mkdir()
    for i in range(IMAGES_TO_EXPLAIN):
        write_png(torch.randint(0, 256, (1, 28, 28), generator=draw, dtype=torch.uint8), f"{folder}/images/{i:04}.png")
    (alone,), two = (explained(folder / "images", processes, folder / f"{processes}") for processes in (1, 2))
    joined = [(folder / f"{processes}" / "explanations.jsonl").read_bytes() for processes in (1, 2)]
    if joined[0] != joined[1]:
        raise ArithmeticError("two processes explain otherwise than one.")
    work, join = [one["work"] for one in two], sum(one["join"] for one in two)
    start = statistics.mean(one["all"] - one["work"] - one["join"] for one in (alone, *two))
    yield Reading("explain: CPU time of the start of each process", start, "s")
    yield Reading(f"explain: CPU time of {IMAGES_TO_EXPLAIN:,} images, one process", alone["work"], "s")
    yield Reading("explain: the same of two processes together", sum(work), "s")
    yield Reading("explain: CPU time of joining their parts, the same bytes", join, "s")
    longest = 2 * (max(work) + join)
    yield Reading(
        "explain: efficiency of two processes after the start, by CPU time", 100 * alone["work"] / longest, "%"
    )


def cases(device: torch.device) -> Iterator[Reading]:
    with tempfile.TemporaryDirectory() as folder:
        yield from explaining(Path(folder))
        for name, title in FAMILIES.items():
            one, two = (measured(name, processes, folder) for processes in (1, 2))
            beside = measured(name, 1, folder, alone=2)
            yield Reading(f"{title}: one process", BATCH / one["wall"], "inputs/s")
            yield Reading(f"{title}: two processes", 2 * BATCH / two["wall"], "inputs/s")
            yield Reading(f"{title}: efficiency of two processes", 100 * one["wall"] / two["wall"], "%")
            yield Reading(f"{title}: the same of two that train alone", 100 * one["wall"] / beside["wall"], "%")
            yield Reading(f"{title}: two together, relative to two alone", 100 * beside["wall"] / two["wall"], "%")
            yield Reading(
                f"{title}: CPU time of a step, one of two relative to a single process", two["cpu"] / one["cpu"], "x"
            )
            if one["push"]:
                (alone, *patches), (shared, *same) = one["push"][0], two["push"][0]
                if patches != same:
                    raise ArithmeticError("two ranks project onto other patches than one.")
                yield Reading(
                    f"push of {2 * BATCH * STEPS:,} images over two ranks, the same patches: time relative to one rank",
                    100 * shared / alone,
                    "%",
                )


if __name__ == "__main__":
    if sys.argv[1] == "explain":
        explain_timed(sys.argv[2], sys.argv[3:])
        sys.exit()
    work(sys.argv[1], int(sys.argv[2]), sys.argv[3])
