"""The figure of `benchmarks.circuits`: language loss and edges of each network, and the edges of each task."""

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.circuits_statistics import Runs, common_tasks, comparable, geometric_mean, interval, mean, reports
from benchmarks.figure import COLOURS, MARKS


def draw(networks: Mapping[str, Runs], path: Path) -> bool:
    """Draws the comparable networks into a file.

    Returns:
        Whether there is a figure; not without matplotlib, nor if no task is solved by all networks.
    """
    tasks = common_tasks(networks)
    if not tasks:
        return False
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        print(f"{path.name} is not drawn: matplotlib is not installed (the extra `plot`).", file=sys.stderr)
        return False
    figure = Figure(figsize=(10.0, 0.6 + 0.26 * max(len(tasks), 10)), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for number, (name, runs) in enumerate(comparable(networks).items()):
        found = {key: r for key, r in reports(runs).items() if key[1] in tasks}
        _frontier(left, name, runs, found, number)
        _by_task(right, found, tasks, number)
    left.set(yscale="log", xlabel="held-out language loss, nats per token", ylabel="edges of a circuit")
    left.set_title(f"geometric means over {len(tasks)} tasks; hollow: before unneeded edges are removed", fontsize=8)
    left.margins(x=0.6)
    right.set(xscale="log", xlabel="edges, with their range over seeds (0 is drawn at 1)")
    right.set_yticks(range(len(tasks)), [task.replace("_", " ") for task in tasks], fontsize=8)
    right.invert_yaxis()
    right.grid(axis="y", color="0.9", linewidth=0.7)
    for panel in (left, right):
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_axisbelow(True)
    figure.savefig(path)
    return True


def _frontier(panel: Any, name: str, runs: Runs, found: Mapping[tuple[str, str], Any], number: int) -> None:
    """Means of a network with 95 % intervals of edges and the range of losses; a small point for each seed."""
    colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
    nats = {seed: run["nats"] for seed, run in runs.items()}
    middle = mean(list(nats.values()))
    across = [[middle - min(nats.values())], [max(nats.values()) - middle]]
    for before in (True, False):
        edges = {key: max(r["before"]["edges"] if before else r["edges"], 1) for key, r in found.items()}
        logs = {key: math.log(value) for key, value in edges.items()}
        value, (low, high) = math.exp(mean(list(logs.values()))), interval(logs)
        panel.errorbar(
            [middle],
            [value],
            yerr=None if before else [[max(value - math.exp(low), 0)], [max(math.exp(high) - value, 0)]],
            xerr=None if before else across,
            color=colour,
            marker=mark,
            markersize=7,
            markerfacecolor="white" if before else colour,
            capsize=3,
            linewidth=1.2,
        )
        if not before:
            panel.annotate(
                f"{name}\n{value:.0f} edges", (middle, value), (8, 4), textcoords="offset points", fontsize=8
            )
            for seed, loss in nats.items():
                each = geometric_mean([count for (other, _), count in edges.items() if other == seed])
                panel.plot([loss], [each], color=colour, marker=mark, markersize=3, alpha=0.6)


def _by_task(panel: Any, found: Mapping[tuple[str, str], Any], tasks: list[str], number: int) -> None:
    """Edges of each task: geometric mean and range over seeds."""
    colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
    for row, task in enumerate(tasks):
        edges = [max(r["edges"], 1) for (_, other), r in found.items() if other == task]
        panel.plot([min(edges), max(edges)], [row, row], color=colour, linewidth=1.4, alpha=0.7)
        panel.plot([geometric_mean(edges)], [row], color=colour, marker=mark, markersize=5)
