"""`train.py verify`: verifies decision records."""

import argparse
import sys
from pathlib import Path

from zoo.audit.verification import verify_record
from zoo.cli.arguments import CommandParser
from zoo.utils.printable import LINES, printable


def verify(arguments: list[str]) -> int:
    """Verifies decision records by `explain --record`: the checkpoint explains the input again, without any network.

    Prints what is not as the record says: the signature or its key, the model, the input, or a field. The exit code
    is 0 if all records are true, 1 if any is not.
    """
    options = parse(arguments)
    wrong = 0
    for path in options.records:
        found = verify_record(path, options.key, options.checkpoint, options.input, options.tolerance)
        wrong += bool(found.differences)
        print(f"{'ok    ' if not found.differences else 'FAILED'} {printable(path)}", flush=True)
        for difference in found.differences:
            print(f"  {printable(difference, keep=LINES)}", file=sys.stderr)
        for note in found.notes:
            print(f"  note: {printable(note)}")
    if len(options.records) > 1:
        print(f"{len(options.records) - wrong} of {len(options.records)} records are true")
    return 1 if wrong else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of the command."""
    parser = CommandParser("verify", verify.__doc__)
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD", help="files that `explain --record` wrote")
    parser.add_argument("--key", type=Path, help="file with the key that they were signed with")
    parser.add_argument("--checkpoint", help="name or folder of the checkpoint (default: as the record says)")
    parser.add_argument("--input", type=Path, help="file of the input (default: as the record says)")
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, help="how far numbers may differ between processors (default: 1e-4)"
    )
    options = parser.parse(arguments)
    if not 0 <= options.tolerance < 1:
        raise ValueError(f"--tolerance must be in [0, 1); got {options.tolerance}.")
    return options
