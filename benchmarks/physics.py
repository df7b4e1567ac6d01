"""Are the parameters of a known law found again, and do their intervals cover them? `python -m benchmarks.physics`.

Fits PhysicsHead to simulated skin conductance of people who differ (`zoo.data.SkinConductance`), whose law is known,
on several seeds; beside it the same law fitted to measured changes too, and intervals whose bootstrap draws windows in
place of people. Writes benchmarks/PHYSICS.md and .json. A minute on one core.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from zoo.data import SkinConductance
from zoo.data.synthetic.skin_conductance import TRUTH
from zoo.sequences.layers.law_fit import Windows, bootstrap, read_windows
from zoo.sequences.physics_head import PhysicsHead
from zoo.training.projection_set import ProjectionSet

HERE = Path(__file__).parent
NAMES = {
    "decay": ("decay", "1/s"),
    "gain of event": ("event", "µS/s"),
    "gain of arousal": ("arousal", "µS/s"),
    "gain of resting": ("decay", "1/s"),
    "rise of event": ("rise", "1/s"),
}
GOAL = 0.1
FITS = {"values": (1.0, 0.0), "values and changes": (1.0, 0.1)}
INTRODUCTION = """# Physics: is a known law found again?

Written by `python -m benchmarks.physics`. PhysicsHead on simulated skin conductance of 40 people whose own parameters
differ from the truth below (standard deviation 0.1 of their logarithms), with noise of 0.03 µS; {seeds} seeds, each
with new people. The test is on 20 other people.

The model fits *values*. The other fit also counts the errors of the measured change per second, with the weight 0.1: a
difference of two measurements smooths the steep rise after an event, so that the rise is found too slow.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds (default: 10)")
    options = parser.parse_args()
    record = {name: [measured(seed, *weights) for seed in range(options.seeds)] for name, weights in FITS.items()}
    (HERE / "PHYSICS.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (HERE / "PHYSICS.md").write_text(page(record), encoding="utf-8")
    print(page(record))
    return 0


def measured(seed: int, task: float, rate: float, **data: Any) -> dict[str, Any]:
    """Parameters, intervals and test results of one fit; `data` are options of the data."""
    people = SkinConductance(seed=seed, **data)
    coefficients: Any = {"coefficients": {"task": task, "rate": rate}}
    model = PhysicsHead(people.domain, delayed=["event"], level=False, recipe=coefficients).eval()
    training = ProjectionSet(people.projection_dataset())
    start = time.process_time()
    model.solve(training)
    seconds = time.process_time() - start
    told = model.parameters_told()
    windows = read_windows(training, model.split, (task, rate))
    alone = Windows(windows.start, windows.drives, windows.target, torch.arange(len(windows.start)), windows.weight)
    low, high = (ends.tolist() for ends in bootstrap(model.law, alone, model.law.logarithms.double(), model.draws))
    test = people.items("test", False)
    with torch.no_grad():
        errors = (model(test.inputs) - test.targets).square().mean(0) / test.targets.var(0, correction=0)
    found = {
        name: {**told[name], "window low": a, "window high": b} for name, a, b in zip(NAMES, low, high, strict=True)
    }
    return {"parameters": found, "r2": (1 - errors).tolist(), "seconds": seconds}


def page(record: dict[str, list[dict[str, Any]]]) -> str:
    """The tables as Markdown."""
    values = record["values"]
    lines = [
        INTRODUCTION.format(seeds=len(values)),
        "| parameter | truth | found, mean (range) | largest error | goal 10 % | intervals that cover the truth |",
        "|---|---|---|---|---|---|",
    ]
    for name, (true, unit) in NAMES.items():
        told = [run["parameters"][name] for run in values]
        found = [one["value"] for one in told]
        error = max(abs(value / TRUTH[true] - 1) for value in found)
        goal = "met" if error <= GOAL else "**missed**"
        spread = f"{mean(found):.3g} ({min(found):.3g} to {max(found):.3g})"
        lines.append(
            f"| {name} | {TRUTH[true]:g} {unit} | {spread} | {error:.1%} | {goal} | "
            f"{covered(told, true, '')} of {len(told)} |"
        )
    lines += [
        "",
        "| fitted to | rise, mean error | all parameters, mean absolute error | test R² of the value | of its change |",
    ]
    lines += ["|---|---|---|---|---|"]
    for fit, runs in record.items():
        rise = mean([run["parameters"]["rise of event"]["value"] / TRUTH["rise"] - 1 for run in runs])
        error = mean([abs(run["parameters"][n]["value"] / TRUTH[t] - 1) for run in runs for n, (t, _) in NAMES.items()])
        r2 = [mean([run["r2"][i] for run in runs]) for i in (0, 1)]
        lines.append(f"| {fit} | {rise:+.1%} | {error:.1%} | {r2[0]:.3f} | {r2[1]:.3f} |".replace("-", "\u2212"))
    people, windows = (
        sum(covered([run["parameters"][n] for run in values], t, kind) for n, (t, _) in NAMES.items())
        for kind in ("", "window ")
    )
    count = len(values) * len(NAMES)
    lines += [
        "",
        f"Of {count} intervals at 95 %, {people} cover the truth if the bootstrap draws people, as the model does, and "
        f"{windows} if it draws windows as though they were independent. A fit takes "
        f"{mean([run['seconds'] for run in values]):.1f} s on one core.",
    ]
    return "\n".join(lines) + "\n"


def covered(told: list[dict[str, float]], true: str, kind: str) -> int:
    """How many intervals have the truth between their ends."""
    return sum(one[f"{kind}low"] <= TRUTH[true] <= one[f"{kind}high"] for one in told)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    sys.exit(main())
