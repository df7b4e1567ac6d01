"""Capability and interpretability: `python -m benchmarks.frontier`. Needs a GPU; hours on a CPU.

Trains the networks that are not in the folder of runs yet (a sparse one, and dense ones of several widths, on the
Python standard library and idioms), prunes all twenty tasks in each, and plots the language loss and the geometric mean
of the circuits' edges over the tasks that all networks solve (Gao et al., arXiv 2511.13653, 2025, figure 3). Writes
benchmarks/FRONTIER.md, .json and .svg.
"""

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import zoo
from zoo.circuits import Pruning, SparseTransformer
from zoo.cli.prune import search
from zoo.data.synthetic.code_tasks import tasks

HERE = Path(__file__).parent
CONFIGS = ("sparse_stdlib_d512", "dense_stdlib_d128", "dense_stdlib_d256", "dense_stdlib_d512")
WIDTH, HEIGHT, LEFT, BOTTOM = 640, 400, 70, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", default=list(CONFIGS), help="names in configs/circuits")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--target-loss", type=float, default=0.15)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--penalties", type=float, nargs="+", default=[3e-5, 1e-4, 3e-4, 1e-3])
    parser.add_argument("--output", type=Path, default=HERE / "FRONTIER")
    options = parser.parse_args()
    search_options = Pruning(target=options.target_loss, steps=options.steps, penalties=options.penalties, pairs=64)
    found = {name: _measure(name, options.runs, search_options) for name in options.configs}
    solved = [task.name for task in tasks() if all(task.name in run["edges"] for run in found.values())]
    for run in found.values():
        run["mean_edges"] = _geometric([run["edges"][name] for name in solved])
    options.output.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    options.output.with_suffix(".svg").write_text(scatter(found), encoding="utf-8")
    options.output.with_suffix(".md").write_text(table(found, solved), encoding="utf-8")
    print(table(found, solved))


def _measure(name: str, runs: Path, options: Pruning) -> dict[str, Any]:
    """Language loss of a network and sizes of its circuits; the network is trained first if it has no run."""
    run = runs / name
    if not (run / "checkpoint").is_dir():
        command = [sys.executable, "train.py", "fit", "--config", f"configs/circuits/{name}.yaml", "--output", str(run)]
        resume = ["--ckpt_path", "last"] if (run / "last.ckpt").exists() else []
        subprocess.run([*command, *resume], check=True)
    model = zoo.load(run / "checkpoint").to("cuda" if torch.cuda.is_available() else "cpu")
    assert isinstance(model, SparseTransformer)
    record: dict[str, Any] = {"density": model.density, "width": model.network.layout.width, "nodes": {}, "edges": {}}
    record["nats"] = json.loads((run / "metrics.json").read_text())["nats"]
    for task in tasks():
        try:
            report = search(model, task, options, 64, None, quiet=True).report
        except (RuntimeError, ValueError) as error:
            print(f"{name} {task.name}: no circuit ({error})", flush=True)
            continue
        record["nodes"][task.name], record["edges"][task.name] = report["nodes"], report["edges"]
        print(f"{name} {task.name}: {report['nodes']} nodes, {report['edges']} edges", flush=True)
    return record


def _geometric(values: list[int]) -> float:
    return math.exp(sum(math.log(max(v, 1)) for v in values) / len(values)) if values else math.nan


def table(found: dict[str, Any], solved: list[str]) -> str:
    """The record as Markdown."""
    lines = [
        "# Capability and interpretability",
        "",
        f"Circuits of {len(solved)} tasks that all networks solve: {', '.join(solved)}. For the same nodes, a network "
        "of density f has about f times the edges of a dense one; nodes and density are listed for this reason.",
        "",
        "| network | width | density | nats per token | nodes | edges (geometric means) |",
        "|---|---|---|---|---|---|",
    ]
    for name, run in found.items():
        nodes = _geometric([run["nodes"][task] for task in solved])
        lines.append(
            f"| {name} | {run['width']} | {run['density']:.3g} | {run['nats']:.3f} | {nodes:.0f} | "
            f"{run['mean_edges']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def scatter(found: dict[str, Any]) -> str:
    """An SVG with the language loss on the x axis and the logarithm of the edges on the y axis."""
    points = {n: (r["nats"], math.log10(max(r["mean_edges"], 1))) for n, r in found.items() if r["edges"]}
    xs, ys = [p[0] for p in points.values()] or [0.0], [p[1] for p in points.values()] or [0.0]
    low, high = min(xs) - 0.05, max(xs) + 0.05
    bottom, top = math.floor(min(ys)), math.ceil(max(ys) + 1e-9)

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - low) / (high - low) * (WIDTH - LEFT - 20)
        return across, HEIGHT - BOTTOM - (y - bottom) / max(top - bottom, 1) * (HEIGHT - BOTTOM - 30)

    marks = "".join(
        f"<circle cx='{at(*p)[0]:.1f}' cy='{at(*p)[1]:.1f}' r='5' fill='{'#0072b2' if 'sparse' in n else '#d55e00'}'/>"
        f"<text x='{at(*p)[0] + 9:.1f}' y='{at(*p)[1] + 4:.1f}'>{n}</text>"
        for n, p in points.items()
    )
    ticks = "".join(
        f"<text x='{LEFT - 8}' y='{at(low, t)[1] + 4:.1f}' text-anchor='end'>{10**t:,}</text>"
        f"<path d='M{LEFT} {at(low, t)[1]:.1f}H{WIDTH - 20}' stroke='#dfe3e8'/>"
        for t in range(bottom, top + 1)
    )
    across = "".join(
        f"<text x='{at(x, bottom)[0]:.1f}' y='{HEIGHT - BOTTOM + 18}' text-anchor='middle'>{x:.2f}</text>"
        for x in (low + (high - low) * k / 4 for k in range(5))
    )
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' "
        f"style='background:#fff;font:12px system-ui,sans-serif'>{ticks}{across}{marks}"
        f"<text x='{WIDTH / 2}' y='{HEIGHT - 10}' text-anchor='middle'>language loss, nats per token</text>"
        f"<text x='{LEFT}' y='18'>edges of a circuit, geometric mean</text></svg>\n"
    )


if __name__ == "__main__":
    main()
