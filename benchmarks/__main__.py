"""Runs the speed benchmarks: `python -m benchmarks`, or some: `python -m benchmarks --only projection circuits`.

Writes benchmarks/results.json and, from it, benchmarks/RESULTS.md. Sections that are not measured keep their results.
If there is a CUDA device, the sections that use one are measured on it too. All take about 25 minutes on two cores;
nothing else should run at the same time.
"""

import argparse
import json
import platform
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.figure import draw
from benchmarks.harness import Case, measure, read
from benchmarks.report import render
from benchmarks.speed import ON_GPU, SECTIONS, cases_of

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Returns 0 unless a section failed; a missed goal is reported but is not a failure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--seconds", type=float, default=4.0, help="of timing for each case (default: 4)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: 2)")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of results.json and RESULTS.md")
    options = parser.parse_args()
    if options.threads < 1 or options.seconds < 0:
        parser.error(f"--threads must be at least 1 and --seconds 0; got {options.threads} and {options.seconds}")
    torch.set_num_threads(options.threads)
    file, failed = options.output / "results.json", []
    results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for section in options.only or SECTIONS:
        for device in [torch.device("cpu"), *([torch.device("cuda")] if _on_gpu(section) else [])]:
            name = section if device.type == "cpu" else f"{section} (CUDA)"
            try:
                rows = run(section, device, options.seconds)
            except (ArithmeticError, OSError, RuntimeError, ValueError) as error:
                failed.append(name)
                print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            results[name] = {
                "about": (import_module(f"benchmarks.speed.{section}").__doc__ or "").strip(),
                "device": describe(device, options.threads),
                "command": f"python -m benchmarks --only {section} --threads {options.threads}",
                "rows": rows,
            }
            if any("curve" in row for row in rows) and draw(rows, options.output / f"{section}.png"):
                results[name]["figure"] = f"{section}.png"
            names = [n for s in SECTIONS for n in (s, f"{s} (CUDA)") if n in results]
            results = {n: results[n] for n in names}
            options.output.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            (options.output / "RESULTS.md").write_text(render(results), encoding="utf-8")
    print(f"written: {options.output / 'RESULTS.md'}")
    if failed:
        print(f"failed, and not written: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _on_gpu(section: str) -> bool:
    return section in ON_GPU and torch.cuda.is_available()


def run(section: str, device: torch.device, seconds: float) -> list[dict[str, Any]]:
    """Measures a section; prints each row."""
    torch.manual_seed(0)
    rows = []
    with tqdm(cases_of(section)(device), desc=f"{section} on {device}", unit="case", disable=None) as cases:
        for case in cases:
            row = measure(case, seconds, device) if isinstance(case, Case) else read(case)
            rows.append(row)
            tqdm.write(_line(row))
    return rows


def _line(row: dict[str, Any]) -> str:
    if "ratios" not in row:
        told = f"{row['value']:.4g} {row['unit']}"
    else:
        told = ", ".join(f"{r[1]:.3g}x {row['kind']} ({name})" for name, r in row["ratios"].items())
    return f"  {row['what']}: {told}" + ("" if row.get("met", True) else "  GOAL MISSED")


def describe(device: torch.device, threads: int) -> str:
    """The device in words, with torch's version."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{threads} thread{'s' if threads > 1 else ''} of {model}, torch {torch.__version__}"


if __name__ == "__main__":
    sys.exit(main())
