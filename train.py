"""Trains, tests and explains models: `python train.py --help`."""

import sys

from zoo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
