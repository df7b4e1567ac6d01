"""`train.py curves`: plots the training curves of a run."""

from pathlib import Path

from zoo.cli.arguments import CommandParser
from zoo.views.training_curves import training_figure

ENDINGS = (".png", ".svg", ".pdf")


def curves(arguments: list[str]) -> int:
    """Plots losses and metrics by epoch, from the log that `fit` writes."""
    parser = CommandParser("curves", curves.__doc__)
    parser.add_argument("--run", required=True, type=Path, help="folder written by fit")
    parser.add_argument(
        "--output", default=Path("curves.png"), type=Path, help=f"{', '.join(ENDINGS)} (default: curves.png)"
    )
    options = parser.parse(arguments)
    if options.output.suffix not in ENDINGS:
        raise ValueError(f"--output must end in {', '.join(ENDINGS)}; got {options.output}.")
    figure = training_figure(options.run)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output, dpi=150)
    print(f"figure {options.output}")
    return 0
