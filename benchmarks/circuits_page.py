"""The page of `benchmarks.circuits`: ratios of sizes with intervals, controls that warn, and all circuits."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Mapping[str, Any]]
SIZES = {
    "edges": lambda r: r["edges"],
    "nodes": lambda r: r["nodes"],
    "edges before removal": lambda r: r["before_refinement"]["edges"],
    "nodes before removal": lambda r: r["before_refinement"]["nodes"],
}
CONTROLS = ("random_nodes", "partial_ablation", "frozen_norms", "nonsense_task", "shuffled_weights")
WORST = (("worst_loss", ".3f"), ("worst_accuracy", ".0%"))
DRAWS = 10_000


def page(record: Record, target: float) -> str:
    """The record as Markdown.

    Args:
        record: by network (the sparse one first, then the narrow one) and seed: "nats", and "tasks" with the report of
            each circuit.
        target: task loss of the search.
    """
    lines = ["# Circuits of a sparse network and of dense networks", ""]
    sparse, *others = record
    for number, name in enumerate(others):
        lines += [comparison(record, sparse, name, fair=number == 0), ""]
    lines += [warnings(record), ""]
    losses = ", ".join(f"{name} {_mean([run['nats'] for run in runs.values()]):.3f}" for name, runs in record.items())
    lines += [
        f"Held-out language loss in nats per token: {losses}. Each circuit reaches a task loss of {target} on the "
        "prompts of the search; all values below are measured on other prompts. Chance is a loss of 0.693 and an "
        "accuracy of 50 %. *Before*: nodes and edges before unneeded edges are removed. *Of possible*: edges divided "
        "by the possible edges between the nodes. *Without*: the network without the circuit.",
        "",
        "| task | network | seed | nodes | edges | before | of possible | loss, accuracy | without |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for task, name, seed, r in _reports(record):
        before = r["before_refinement"]
        lines.append(
            f"| {task} | {name} | {seed} | {r['nodes']} | {r['edges']} | {before['nodes']}, {before['edges']} | "
            f"{r['density']:.0%} | {_scores(r['circuit'])} | {_scores(r['without'])} |"
        )
    lines += ["", "## Controls", "", CONTROLS_TEXT, ""]
    titles = [name.replace("_", " ") for name in CONTROLS]
    lines += [f"| task | network | {' | '.join(titles)} |", "|---" * (2 + len(titles)) + "|"]
    for task, name, _, r in _reports(record):
        if "controls" in r:
            cells = [_control(r["controls"].get(control, {})) for control in CONTROLS]
            lines.append(f"| {task} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


CONTROLS_TEXT = (
    "See `zoo.circuits.analysis.controls`. Loss and accuracy on held-out prompts, the worst case, nodes and edges. "
    "Random nodes, the nonsense task and shuffled weights should fail; with half of the other nodes ablated, and with "
    "the norms of the complete network, the circuit should still solve the task. A value that was not recorded is left "
    "out, and the verdict is then n/a."
)


def comparison(record: Record, sparse: str, other: str, fair: bool) -> str:
    """One sentence with the ratios of sizes, of a dense network to the sparse one."""
    pairs = _pairs(record[sparse], record[other])
    if not pairs:
        return f"{other} and {sparse} solve no task in common."
    seeds, tasks = len({seed for seed, _ in pairs}), len({task for _, task in pairs})
    ratios = []
    for name, size in SIZES.items():
        logs = {key: math.log(size(dense) / max(size(few), 1)) for key, (few, dense) in pairs.items()}
        low, high = interval(logs)
        ratios.append(
            f"{name} {math.exp(_mean(list(logs.values()))):.1f}x ({math.exp(low):.1f} to {math.exp(high):.1f})"
        )
    about = (
        "**The fair comparison**: a dense network that is narrow enough to have the same loss"
        if fair
        else "A dense network whose width is not the smallest for its loss; a part of its ratio is its density"
    )
    return (
        f"{about}. {other} relative to {sparse}, geometric means over {tasks} tasks that both solve and {seeds} "
        f"training seed{'s' * (seeds > 1)}, with 95 % bootstrap intervals over both: {', '.join(ratios)}."
    )


def interval(logs: Mapping[tuple[str, str], float]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over (seed, task): tasks are drawn, then a seed for each."""
    draw, by_task = random.Random(0), {}
    for (_, task), value in logs.items():
        by_task.setdefault(task, []).append(value)
    groups = list(by_task.values())
    means = sorted(_mean([draw.choice(g) for g in draw.choices(groups, k=len(groups))]) for _ in range(DRAWS))
    return means[int(0.025 * DRAWS)], means[int(0.975 * DRAWS)]


def warnings(record: Record) -> str:
    """Which controls warn, for which network and task."""
    found: dict[tuple[str, str], list[str]] = {}
    for task, name, _, r in _reports(record):
        for control in CONTROLS:
            if r.get("controls", {}).get(control, {}).get("verdict") == "warn":
                found.setdefault((control, name), []).append(task)
    if not found:
        return "No control warns."
    each = [f"{c.replace('_', ' ')} of {name} ({', '.join(dict.fromkeys(t))})" for (c, name), t in found.items()]
    return f"**Controls that warn**: {'; '.join(each)}."


def _pairs(sparse: Mapping[str, Any], dense: Mapping[str, Any]) -> dict[tuple[str, str], tuple[Any, Any]]:
    """Reports of both networks by seed and task, where both have a circuit."""
    return {
        (seed, task): (report, dense[seed]["tasks"][task])
        for seed, run in sparse.items()
        if seed in dense
        for task, report in run["tasks"].items()
        if task in dense[seed]["tasks"]
    }


def _reports(record: Record) -> list[tuple[str, str, str, Mapping[str, Any]]]:
    """All reports with their task, network and seed, task by task."""
    rows = [
        (task, name, seed, report)
        for name, runs in record.items()
        for seed, run in runs.items()
        for task, report in run["tasks"].items()
    ]
    tasks, names = list(dict.fromkeys(row[0] for row in rows)), list(record)
    return sorted(rows, key=lambda row: (tasks.index(row[0]), names.index(row[1]), row[2]))


def _scores(scores: Mapping[str, float]) -> str:
    return f"{scores['loss']:.3f}, {scores['accuracy']:.0%}"


def _control(found: Mapping[str, Any]) -> str:
    """Verdict and recorded values of a control."""
    if not found:
        return "n/a"
    parts = [f"loss {found['loss']:.3f}"]
    parts += [f"accuracy {found['accuracy']:.0%}"] if "accuracy" in found else []
    worst = [format(found[name], form) for name, form in WORST if name in found]
    parts += [f"worst {', '.join(worst)}"] if worst else []
    parts += [f"{found[size]} {size}" for size in ("nodes", "edges") if size in found]
    if "reached" in found:
        reached = "reached" if found["reached"] else "missed"
        parts.append(f"target {reached} on the prompts of the search ({found['train']['loss']:.3f})")
    return f"**{found.get('verdict', 'n/a')}**: {'; '.join(parts)}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
