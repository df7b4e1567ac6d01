"""`train.py monitor`: drift of reasons between two periods."""

import argparse
import sys
from pathlib import Path

from zoo.audit.drift import Drift, measure_drift
from zoo.cli.arguments import CommandParser
from zoo.cli.diff import share, table_of
from zoo.utils.atomic import write_text
from zoo.utils.printable import printable
from zoo.views.drift import drift_page

PRINTED = 10  # quantities that drifted


def monitor(arguments: list[str]) -> int:
    """Tests whether a model uses its units otherwise than before, from the explanations.jsonl of two periods.

    Compares the exact contributions of each unit, the scores and the classes. Writes drift.html and drift.csv. With
    --max-drift, the exit code is 1 if more quantities drifted.
    """
    options = parse(arguments)
    found = measure_drift(options.old, options.new, options.rate, options.target)
    options.output.mkdir(parents=True, exist_ok=True)
    write_text(options.output / "drift.csv", table_of(change.to_dict() for change in found.changes))
    write_text(options.output / "drift.html", drift_page(found, (str(options.old), str(options.new))))
    report(found, options.output)
    if options.max_drift is not None and len(found.drifted) > options.max_drift:
        print(f"FAILED {len(found.drifted)} quantities drifted; allowed: {options.max_drift}.", file=sys.stderr)
        return 1
    return 0


def report(found: Drift, output: Path) -> None:
    """Prints what drifted."""
    print(
        f"{len(found.drifted)} of {len(found.changes)} quantities drifted between {found.before:,} and {found.after:,} "
        f"explanations -> {printable(output / 'drift.html')}"
    )
    for change in found.drifted[:PRINTED]:
        means = "" if change.kind == "answer" else f", mean {change.before:.4g} -> {change.after:.4g}"
        name = change.name if change.kind == "unit" else {"answer": "which classes", "score": "score"}[change.kind]
        print(f"  {printable(name)}: stability index {change.stability:.3f}, adjusted p {change.q:.2g}{means}")
    if len(found.drifted) > PRINTED:
        print(f"  ... and {len(found.drifted) - PRINTED} more")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of the command."""
    parser = CommandParser("monitor", monitor.__doc__)
    parser.add_argument("old", type=Path, metavar="OLD.jsonl", help="explanations.jsonl of the period to compare with")
    parser.add_argument("new", type=Path, metavar="NEW.jsonl", help="explanations.jsonl of the period to test")
    parser.add_argument("--target", metavar="CLASS", help="only explanations of this class")
    parser.add_argument(
        "--rate", type=share, default=0.05, help="expected share of false alarms among all alarms (default: 0.05)"
    )
    parser.add_argument("--max-drift", type=int, metavar="N", help="fail if more quantities drifted")
    parser.add_argument("--output", default=Path("out"), type=Path, help="folder for the results (default: out)")
    return parser.parse(arguments)
