"""Policies: returns beside the black box's, fidelity, and information loss. `python -m benchmarks.policies`.

Trains policies with `train.py fit` and measures them with `train.py evaluate --episodes`. Finished measurements are
kept: an interrupted command resumes. Writes benchmarks/POLICIES.md and .json. It takes an hour on one core.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.graphs_page import spread
from benchmarks.runs import Record, read
from zoo.cli.main import main as command
from zoo.data.synthetic.control_worlds import WORLDS

BLACK_BOX = "black box"
MODELS = {  # beginning of the configs in configs/policies
    BLACK_BOX: "blackbox",
    "VIPERTree": "viper",
    "NAMPolicy": "nam",
    "HardTreePolicy": "hard_tree",
    "PrototypePolicy": "prototypes",
    "ConceptPolicy": "concepts",
}
TAUGHT = ("VIPERTree", "PrototypePolicy")
EPISODES = 100
ABOUT = """Mean return of the best actions over 100 episodes, all from the same starts, with the standard deviation over
training seeds (where there are several) and the range of the 95 % intervals of the seeds, by the bootstrap over
episodes. *Fidelity*: share of the states that the policy itself reaches in which it acts as the black box of the same
seed (of torques: R², negative where they are worse than a constant). *Information loss*: return of the model as it is
trained minus return of the model as it is shown, the actions of highest bias plus contributions. *Seconds*: of
CPU time for the training of the model alone; the black box is trained before `VIPERTree` and `PrototypePolicy`."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS), metavar="NAME")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    parser.add_argument("--runs", type=Path, default=Path("runs/policies"), help="folder of the trained models")
    options = parser.parse_args()
    record = Record("POLICIES", page)
    for world in options.worlds:
        for seed in options.seeds:
            for model in options.models:
                if config_of(world, model).is_file():
                    record.keep(f"{world}, {model}, seed {seed}", measured, world, model, seed, options.runs)
    return 0


def config_of(world: str, model: str) -> Path:
    """The config of a model in a world; not all models have one in every world."""
    return Path("configs") / "policies" / f"{MODELS[model]}_{world}.yaml"


def measured(world: str, model: str, seed: int, runs: Path) -> dict[str, float | None]:
    """Trains a model and measures it.

    Raises:
        RuntimeError: a command failed; its message was printed.
    """
    folder, twin = (runs / f"{MODELS[name]}_{world}_{seed}" for name in (model, BLACK_BOX))
    if model != BLACK_BOX:
        train(world, BLACK_BOX, seed, twin, twin)  # where an earlier command measured it and its run is gone
    seconds = train(world, model, seed, folder, twin)
    metrics = read(folder / "metrics.json")
    found = {"return": metrics["return"], "low": metrics["return_low"], "high": metrics["return_high"]}
    found["seconds"] = seconds
    if model == BLACK_BOX:
        return found
    options = ["--checkpoint", str(folder / "checkpoint"), "--episodes", str(EPISODES), "--output", str(folder)]
    call(["evaluate", *options, "--twin", str(twin)])
    report = read(folder / "episodes.json")
    controls = {"controller": report["controller"]["mean"], "chance": report["chance"]["mean"]}
    return found | controls | {name: report[name] for name in ("fidelity", "information_loss")}


def train(world: str, model: str, seed: int, folder: Path, twin: Path) -> float | None:
    """Trains a run that is missing; returns its seconds of CPU time, None for a run that was there."""
    if (folder / "metrics.json").is_file():
        return None
    arguments = ["fit", "--config", str(config_of(world, model)), "--output", str(folder), "--overwrite", "true"]
    arguments += ["--seed_everything", str(seed), "--data.init_args.seed", str(seed)]
    arguments += ["--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]
    if model in TAUGHT:
        arguments += ["--model.init_args.recipe.teacher.run", str(twin)]
    start = time.process_time()
    call(arguments)
    return round(time.process_time() - start, 1)


def call(arguments: list[str]) -> None:
    """Runs a command of train.py in this process.

    Raises:
        RuntimeError: it failed.
    """
    if command(arguments):
        raise RuntimeError(f"train.py {' '.join(arguments)} failed.")


def page(record: dict[str, dict[str, Any]]) -> str:
    """The Markdown page of measurements by "world, model, seed N"."""
    parts = ["# Policies", ABOUT]
    for world, about in WORLDS.items():
        found = {model: runs_of(record, world, model) for model in MODELS}
        if not any(found.values()):
            continue
        head = "| policy | seeds | return | 95 % intervals | fidelity | information loss | seconds |"
        lines = [head, "|---|---:|---:|---:|---:|---:|---:|"]
        for model, runs in found.items():
            if runs:
                low, high = min(run["low"] for run in runs), max(run["high"] for run in runs)
                cells = [spread([run.get(name) for run in runs], 1) for name in ("fidelity", "information_loss")]
                took = spread([run["seconds"] for run in runs], 1)
                lines.append(
                    f"| {model} | {len(runs)} | {spread([run['return'] for run in runs], 1)} | {low:.1f} to {high:.1f} "
                    f"| {' | '.join(cells)} | {took} |"
                )
        for name, words in (("controller", "written controller"), ("chance", "random actions")):
            runs = [run for model in MODELS for run in found[model] if name in run]
            if runs:
                lines.append(f"| {words} | | {runs[0][name]:.2f} | | | | |")
        parts += [f"## {type(about).__name__}", "\n".join(lines)]
    return "\n\n".join([*parts, "Created by `python -m benchmarks.policies`."]) + "\n"


def runs_of(record: dict[str, dict[str, Any]], world: str, model: str) -> list[dict[str, Any]]:
    """The measurements of a model in a world, one for each seed."""
    return [found for key, found in record.items() if key.startswith(f"{world}, {model}, ")]


if __name__ == "__main__":
    sys.exit(main())
