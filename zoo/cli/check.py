"""`train.py check`: whether checkpoints are whole, and still explain as they did when they were saved."""

import argparse
import sys
import time

from zoo.checkpoints.config_file import read_config
from zoo.checkpoints.model_card import require_complete
from zoo.checkpoints.pretrained import find
from zoo.checkpoints.shipped import list_checkpoints
from zoo.checkpoints.verify import verify


def check(arguments: list[str]) -> int:
    """Checks hashes, names and shapes of weights, the golden explanations, and that their terms add up."""
    parser = argparse.ArgumentParser("train.py check", description=check.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="folders or names (default: all that come along)")
    given = parser.parse_args(arguments).names
    names = given or list_checkpoints()
    if not names:
        raise FileNotFoundError("no checkpoint comes with this installation; name a folder to check.")
    failed = 0
    for name in names:
        start = time.perf_counter()
        try:
            off = verify(find(name))
            if not given:  # what comes along is documented
                require_complete(read_config(find(name)))
        except (ValueError, OSError, ArithmeticError, RuntimeError) as error:
            failed += 1
            print(f"FAILED {name}: {error}", file=sys.stderr)
            continue
        seconds = time.perf_counter() - start
        print(f"ok     {name}: golden explanations within {off:.1g}, {seconds:.1f} s", flush=True)
    print(f"{len(names) - failed} of {len(names)} checkpoints are whole")
    return 1 if failed else 0
