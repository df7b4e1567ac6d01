"""The page of `benchmarks.circuits`: ratios of sizes with intervals, solved tasks, circuits, and controls that warn."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.circuits_statistics import (
    common_tasks,
    comparable,
    compared,
    geometric_mean,
    interval,
    mean,
    reports,
)

Networks = Mapping[str, Mapping[str, Any]]
SIZES: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "edges": lambda r: r["edges"],
    "nodes": lambda r: r["nodes"],
    "edges before removal": lambda r: r["before"]["edges"],
    "nodes before removal": lambda r: r["before"]["nodes"],
}
CONTROLS = ("random_nodes", "partial_ablation", "frozen_norms", "nonsense_task", "shuffled_weights")
WORST = (("worst_loss", ".3f"), ("worst_accuracy", ".0%"))


def page(record: Mapping[str, Any]) -> str:
    """The record as Markdown.

    Args:
        record: "search", the options of the search, and "networks": by network (the sparse one first, then the narrow
            one) and seed of the training: "nats", "width", "density", and "tasks" with the result of each task.
    """
    networks, target = record["networks"], record["search"]["target"]
    lines = ["# Circuits of twenty tasks in a sparse network and in dense networks", ""]
    if not networks:
        return "\n".join([*lines, "No result yet."]) + "\n"
    sparse, *others = networks
    for number, name in enumerate(others):
        lines += [comparison(networks, sparse, name, fair=number == 0), ""]
    return "\n".join(
        [*lines, *_overview(networks), *_solved(networks, target), *_circuits(networks), *_controls(networks)]
    )


def comparison(networks: Networks, sparse: str, other: str, fair: bool) -> str:
    """One sentence with the ratios of sizes, of a dense network to the sparse one."""
    found = compared(networks, sparse, other)
    if not found:
        return f"{other} and {sparse} solve no task in common."
    seeds, tasks = len({seed for seed, _ in found}), len({task for _, task in found})
    ratios = []
    for name, size in SIZES.items():
        logs = {key: math.log(max(size(dense), 1) / max(size(few), 1)) for key, (few, dense) in found.items()}
        ratios.append(f"{name} {_interval(logs, '.1f', 'x')}")
    smaller = sum(few["edges"] < dense["edges"] for few, dense in found.values())
    about = (
        "**The fair comparison**: a dense network that is narrow enough to have the same loss"
        if fair
        else "A dense network whose width is not the smallest for its loss; a part of its ratio is its density"
    )
    return (
        f"{about}. {other} relative to {sparse}, geometric means over {tasks} tasks that both solve and {seeds} "
        f"training seed{'s' * (seeds > 1)}, with 95 % bootstrap intervals over both: {', '.join(ratios)}. The circuit "
        f"of {sparse} has fewer edges for {smaller} of {len(found)} tasks and seeds."
    )


def _overview(networks: Networks) -> list[str]:
    """A row for each network: means over the tasks that all of them solve."""
    tasks = common_tasks(networks)
    if not tasks:
        return []
    lines = [
        "![Loss and edges of the networks, and edges of each task](circuits.png)",
        "",
        f"Means over the {len(tasks)} tasks that are measured and solved with all of these networks and seeds; of "
        "sizes, geometric means. In brackets, 95 % bootstrap intervals over tasks and seeds; of the language loss, the "
        "range over seeds. *Of possible*: edges divided by the possible edges between the nodes. *Sufficiency*: loss "
        "and accuracy of the "
        "circuit alone, on held-out prompts. *Worse answer*: its accuracy on the prompts of that of the two answers "
        "which it gets wrong more often. *Worst half*: the lowest accuracy with one of several random halves of the "
        "other nodes not ablated. *Necessity*: loss and accuracy of the network without the nodes of the circuit; "
        "chance is a loss of 0.693 and an accuracy of 50 %.",
        "",
        "| network | width | density | seeds | language loss | nodes | edges | edges before removal | of possible | "
        "sufficiency | worse answer | worst half | necessity |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in comparable(networks).items():
        found = {key: r for key, r in reports(runs).items() if key[1] in tasks}
        nats = [run["nats"] for run in runs.values()]
        sizes = [
            _interval({key: math.log(max(SIZES[size](r), 1)) for key, r in found.items()}, ".0f")
            for size in ("nodes", "edges", "edges before removal")
        ]
        run = next(iter(runs.values()))
        lines.append(
            f"| {name} | {run['width']} | {run['density']:.3g} | {len(runs)} | {mean(nats):.3f} "
            f"({min(nats):.3f} to {max(nats):.3f}) | {' | '.join(sizes)} | {_quality(list(found.values()))} |"
        )
    return [*lines, ""]


def _solved(networks: Networks, target: float) -> list[str]:
    """Which network solves which task."""
    lines = [
        "## Which tasks are solved",
        "",
        f"A network solves a task if its loss on the prompts of the search is at most {target} nats, which is also the "
        "loss that a circuit must reach there. Seeds that solve it of those measured, then the mean loss and accuracy "
        "on held-out prompts.",
        "",
        f"| task | {' | '.join(networks)} |",
        "|---" * (1 + len(networks)) + "|",
    ]
    for task in _tasks(networks):
        cells = []
        for runs in networks.values():
            found = [run["tasks"][task] for run in runs.values() if task in run["tasks"]]
            whole = [r["whole"] for r in found if "whole" in r]
            scores = f": {_scores(whole)}" if whole else ""
            cells.append(f"{sum(r['solved'] for r in found)} of {len(found)}{scores}" if found else "")
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return [*lines, ""]


def _circuits(networks: Networks) -> list[str]:
    """The circuits of each task."""
    lines = [
        "## Circuits",
        "",
        "Means over the seeds that solve the task; of sizes, geometric means with the range over seeds. A circuit "
        "without nodes leaves the answer to the table of bigrams; in means of sizes and in ratios, 0 counts as 1. At "
        "most: the removal stopped at the limit of passes, so that unneeded edges may be left. Other columns as above; "
        "*worse answer* and *worst half* are the worst of all seeds.",
        "",
        "| task | network | seeds | nodes | edges | edges before removal | of possible | sufficiency | worse answer | "
        "worst half | necessity |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for task in _tasks(networks):
        for name, runs in networks.items():
            found = [r for (_, other), r in reports(runs).items() if other == task]
            if found:
                most = "" if all(r["tested"] for r in found) else "at most "
                sizes = [_range([SIZES[size](r) for r in found]) for size in ("nodes", "edges", "edges before removal")]
                lines.append(
                    f"| {task} | {name} | {len(found)} | {most}{sizes[0]} | {most}{sizes[1]} | {sizes[2]} | "
                    f"{_quality(found, worst=True)} |"
                )
    return [*lines, ""]


def _controls(networks: Networks) -> list[str]:
    """Controls that warn, and all values; nothing if none is measured."""
    if not any("controls" in r for runs in networks.values() for r in reports(runs).values()):
        return ["Created by `python -m benchmarks.circuits`.", ""]
    lines = [
        "## Controls",
        "",
        warnings(networks),
        "",
        "With seed 0, see `zoo.circuits.analysis.controls`. Loss and accuracy on held-out prompts, the worst case, "
        "nodes and edges. Random nodes, the nonsense task and shuffled weights should fail; with half of the other "
        "nodes ablated, and with the norms of the complete network, the circuit should still solve the task.",
        "",
        f"| task | network | {' | '.join(name.replace('_', ' ') for name in CONTROLS)} |",
        "|---" * (2 + len(CONTROLS)) + "|",
    ]
    for task in _tasks(networks):
        for name, runs in networks.items():
            for (_, other), r in reports(runs).items():
                if other == task and "controls" in r:
                    cells = [_control(r["controls"][control]) for control in CONTROLS]
                    lines.append(f"| {task} | {name} | {' | '.join(cells)} |")
    return [*lines, "", "Created by `python -m benchmarks.circuits`.", ""]


def warnings(networks: Networks) -> str:
    """Which controls warn, for which network and task."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, runs in networks.items():
        for (_, task), r in reports(runs).items():
            for control, result in r.get("controls", {}).items():
                if result["verdict"] == "warn":
                    found.setdefault((control, name), []).append(task)
    if not found:
        return "No control warns."
    each = [f"{c.replace('_', ' ')} of {name} ({', '.join(dict.fromkeys(t))})" for (c, name), t in found.items()]
    return f"**Controls that warn**: {'; '.join(each)}."


def _tasks(networks: Networks) -> list[str]:
    """All tasks that were measured."""
    return list(dict.fromkeys(task for runs in networks.values() for run in runs.values() for task in run["tasks"]))


def _quality(found: Sequence[Mapping[str, Any]], worst: bool = False) -> str:
    """The cells of density, sufficiency, the worst cases and necessity; means or, of worst cases, the worst."""
    answers, halves = ([r[key]["worst_accuracy"] for r in found] for key in ("circuit", "halves"))
    lowest = min if worst else mean
    return (
        f"{mean([r['density'] for r in found]):.0%} | {_scores([r['circuit'] for r in found])} | "
        f"{lowest(answers):.0%} | {lowest(halves):.0%} | {_scores([r['without'] for r in found])}"
    )


def _interval(logs: Mapping[tuple[str, str], float], form: str, unit: str = "") -> str:
    """Geometric mean and interval of values by seed and task, given as logarithms."""
    low, high = interval(logs)
    return f"{math.exp(mean(list(logs.values()))):{form}}{unit} ({math.exp(low):{form}} to {math.exp(high):{form}})"


def _range(values: Sequence[float]) -> str:
    """A value, or the geometric mean of several with their range."""
    if len(values) == 1:
        return f"{values[0]:.0f}"
    return f"{geometric_mean(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def _scores(found: Sequence[Mapping[str, float]]) -> str:
    """Mean loss and accuracy."""
    return f"{mean([s['loss'] for s in found]):.3f}, {mean([s['accuracy'] for s in found]):.0%}"


def _control(found: Mapping[str, Any]) -> str:
    """Verdict and values of a control."""
    parts = [f"loss {found['loss']:.3f}", f"accuracy {found['accuracy']:.0%}"]
    parts.append(f"worst {', '.join(format(found[name], form) for name, form in WORST)}")
    parts += [f"{found[size]} {size}" for size in ("nodes", "edges")]
    if "reached" in found:
        reached = "reached" if found["reached"] else "missed"
        parts.append(f"target {reached} on the prompts of the search ({found['train']['loss']:.3f})")
    return f"**{found['verdict']}**: {'; '.join(parts)}"
