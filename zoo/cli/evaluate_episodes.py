"""`train.py evaluate --episodes N`: the return of a policy, and whether what is shown is what was trained."""

import argparse
from dataclasses import asdict

from zoo.cli.play import control_of
from zoo.core.module import SelfInterpretable
from zoo.data.base.module import DataModule
from zoo.metrics.policy_returns import Measured, policy_report
from zoo.training.black_box_file import load_network
from zoo.training.distillation import differences
from zoo.training.teacher import Teacher
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json


def report_episodes(model: SelfInterpretable, data: DataModule, options: argparse.Namespace) -> None:
    """Writes episodes.json and prints the table.

    Raises:
        FileNotFoundError: the run of the twin has no black box.
        ValueError: the data are no control problem, or the twin is one of another.
    """
    control, twin = control_of(data, "--episodes"), None
    if options.twin is not None:
        twin = load_network(Teacher(options.twin).file).to(model.device)
        if found := differences(twin.domain, model.domain):
            raise ValueError(f"--twin {options.twin} does not fit {options.checkpoint}: {'; '.join(found)}.")
    report = policy_report(model, control, options.episodes, twin)
    record = {"checkpoint": str(options.checkpoint), "world": control.world.name, **asdict(report)}
    write_text(options.output / "episodes.json", to_json(record, indent=1) + "\n")
    print(f"{report.episodes} episodes of {control.world.name}, which begin in the same states")
    lines = {
        "return of the policy": report.policy,
        "return of the black-box twin": report.twin,
        "return of the written controller": report.controller,
        "return of random actions": report.chance,
    }
    for words, measured in lines.items():
        if measured is not None:
            print(f"  {words:<34} {shown(measured)}")
    other = "the written controller" if report.twin is None else "the black-box twin"
    kind = "share of its own states in which it acts as" if not control.world.continuous else "R² of its actions and of"
    print(f"  {kind} {other}: {report.fidelity:.3f}")
    if report.information_loss is None:
        print("  information loss n/a: this model is not additive")
    else:
        print(
            f"  information loss, return as trained minus return as shown: {report.information_loss:.1f} "
            f"({report.different:.1%} of its states get another action)"
        )
    print(f"numbers {options.output / 'episodes.json'}")


def shown(measured: Measured) -> str:
    """A return for the terminal."""
    return f"{measured.mean:8.1f}  (95 % interval {measured.low:.1f} to {measured.high:.1f})"
