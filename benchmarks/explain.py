"""Explaining a folder of images beside predicting it: `python -m benchmarks.explain --checkpoint FOLDER`.

Both read the same files in batches. Each call is a process of its own, so its memory is its own; the ratio is of the
time per image beyond the smallest folder, so start-up does not count.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from torchvision.io import write_png

import zoo
from zoo.explaining import BATCH, explain

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Prints and writes the ratio of throughputs, and memory by number of images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path, help="of a model of images")
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 10_000], help="images of each folder")
    parser.add_argument("--repeats", type=int, default=2, help="of each (default: 2)")
    parser.add_argument("--work", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return work(options.checkpoint, *options.work)
    domain = zoo.load(options.checkpoint).domain
    draw, found = torch.Generator().manual_seed(0), []
    with tempfile.TemporaryDirectory() as place:
        for count in options.counts:
            folder = Path(place) / str(count)
            folder.mkdir()
            for i in range(count):
                shape = (domain.channels, *domain.size)
                write_png(torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8), str(folder / f"{i}.png"))
            for _ in range(options.repeats):  # interleaved
                for what in ("predict", "explain"):
                    found.append({"what": what, "images": count, **measured(options.checkpoint, what, folder)})
                    print(found[-1], flush=True)
    table = {
        what: {
            count: {
                "seconds": median(f["seconds"] for f in found if f["what"] == what and f["images"] == count),
                "MiB": max(f["MiB"] for f in found if f["what"] == what and f["images"] == count),
            }
            for count in options.counts
        }
        for what in ("predict", "explain")
    }
    least, most = min(options.counts), max(options.counts)
    speed = {what: (most - least) / (t[most]["seconds"] - t[least]["seconds"]) for what, t in table.items()}
    record = {
        "model": type(zoo.load(options.checkpoint)).__name__,
        "threads": torch.get_num_threads(),
        "images a second": {what: round(value, 1) for what, value in speed.items()},
        "explaining as a share of predicting": round(speed["explain"] / speed["predict"], 3),
        "runs": table,
    }
    (HERE / "EXPLAIN_SPEED.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))
    return 0


def measured(checkpoint: Path, what: str, folder: Path) -> dict[str, float]:
    """Seconds and MiB of one process."""
    command = [sys.executable, "-m", "benchmarks.explain", "--checkpoint", str(checkpoint), "--work", what, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def work(checkpoint: Path, what: str, folder: str) -> int:
    """Predicts or explains a folder and prints how long it took, without loading the model, and the peak of memory."""
    model = zoo.load(checkpoint)
    start = time.perf_counter()
    if what == "predict":
        files = sorted(Path(folder).iterdir())
        with torch.no_grad():
            for at in range(0, len(files), BATCH):
                model(torch.stack([model.domain.read(file) for file in files[at : at + BATCH]])).argmax(1).tolist()
    else:
        with tempfile.TemporaryDirectory() as out:
            arguments = ["--checkpoint", str(checkpoint), "--input", folder, "--output", out, "--pages", "0"]
            explain(arguments)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": round(seconds, 3), "MiB": round(peak, 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
