"""`train.py check`: verifies checkpoint integrity."""

import sys
import time

from zoo.checkpoints.config_file import read_config
from zoo.checkpoints.model_card import require_complete
from zoo.checkpoints.pretrained import find
from zoo.checkpoints.shipped import list_checkpoints
from zoo.checkpoints.verify import verify
from zoo.cli.arguments import CommandParser
from zoo.cli.stories import check_stories
from zoo.utils.printable import LINES, printable


def check(arguments: list[str]) -> int:
    """Verifies checkpoints: file hashes, names and shapes of weights, golden explanations, and their sums.

    Stories of circuits, CHECKPOINT/circuits/TASK.yaml, are tested again: each experiment must have the effect that the
    story expects.
    """
    parser = CommandParser("check", check.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="names or folders (default: all that are shipped)")
    given = parser.parse(arguments).names
    names = given or list_checkpoints()
    if not names:
        raise FileNotFoundError("this installation ships no checkpoints; give a folder.")
    failed = 0
    for name in names:
        start = time.perf_counter()
        try:
            difference = verify(find(name))
            if not given:  # shipped checkpoints have a model card
                require_complete(read_config(find(name)))
            experiments = check_stories(find(name))
        except (ValueError, TypeError, OSError, ArithmeticError, RuntimeError) as error:
            failed += 1
            print(f"FAILED {printable(name)}: {printable(error, keep=LINES)}", file=sys.stderr)
            continue
        seconds = time.perf_counter() - start
        stories = f"{experiments} experiments on circuits as expected, " if experiments else ""
        explained = f"golden explanations differ by at most {difference:.1g}"
        print(f"ok     {printable(name)}: {explained}, {stories}{seconds:.1f} s", flush=True)
    print(f"{len(names) - failed} of {len(names)} checkpoints are intact")
    return 1 if failed else 0
