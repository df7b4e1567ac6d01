"""Means and intervals over tasks and training seeds, of the results of `benchmarks.circuits`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

DRAWS = 10_000
Runs = Mapping[str, Mapping[str, Any]]
Reports = dict[tuple[str, str], Mapping[str, Any]]


def reports(runs: Runs) -> Reports:
    """Reports of the circuits of a network by seed and task; tasks that it does not solve have none."""
    return {(seed, task): r for seed, run in runs.items() for task, r in run["tasks"].items() if r["solved"]}


def compared(networks: Mapping[str, Runs], one: str, other: str) -> dict[tuple[str, str], tuple[Any, Any]]:
    """Reports of both networks by seed and task, where both have a circuit."""
    first, second = reports(networks[one]), reports(networks[other])
    return {key: (first[key], second[key]) for key in first if key in second}


def comparable(networks: Mapping[str, Runs]) -> dict[str, dict[str, Any]]:
    """The networks without the seeds of which fewer than half of the tasks are measured."""
    wanted = {task for runs in networks.values() for run in runs.values() for task in run["tasks"]}
    found = {
        name: {seed: run for seed, run in runs.items() if len(run["tasks"]) >= len(wanted) / 2}
        for name, runs in networks.items()
    }
    return {name: runs for name, runs in found.items() if runs}


def common_tasks(networks: Mapping[str, Runs]) -> list[str]:
    """Tasks that every comparable network solves with every comparable seed."""
    runs = [run["tasks"] for found in comparable(networks).values() for run in found.values()]
    return [t for t in (runs[0] if runs else ()) if all(t in tasks and tasks[t]["solved"] for tasks in runs)]


def interval(values: Mapping[tuple[str, str], float]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of values by seed and task; seeds and tasks are drawn, with all their values.

    Owen: "The pigeonhole bootstrap", Annals of Applied Statistics 2007. Draws without a value are left out.
    """
    seeds, tasks = (list(dict.fromkeys(key[side] for key in values)) for side in (0, 1))
    table, known = np.zeros((len(seeds), len(tasks))), np.zeros((len(seeds), len(tasks)))
    for (seed, task), value in values.items():
        table[seeds.index(seed), tasks.index(task)] = value
        known[seeds.index(seed), tasks.index(task)] = 1
    draw = np.random.default_rng(0)
    by_seed, by_task = (draw.multinomial(n, np.full(n, 1 / n), DRAWS) for n in (len(seeds), len(tasks)))
    totals, counts = (np.einsum("ds,st,dt->d", by_seed, cells, by_task) for cells in (table, known))
    low, high = np.quantile(totals[counts > 0] / counts[counts > 0], (0.025, 0.975))
    return float(low), float(high)


def mean(values: Sequence[float]) -> float:
    """The mean of numbers."""
    return sum(values) / len(values)


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of numbers, of which those below 1 count as 1."""
    return math.exp(mean([math.log(max(value, 1)) for value in values]))
