"""`train.py curves`: plots the training curves of a run."""

from pathlib import Path

from zoo.cli.arguments import CommandParser
from zoo.cli.classes import find_class, models
from zoo.cli.config import read_config
from zoo.views.training_curves import training_figure

ENDINGS = (".png", ".svg", ".pdf")


def curves(arguments: list[str]) -> int:
    """Plots the loss, its weighted terms and the metrics by epoch, from the log that `fit` writes."""
    parser = CommandParser("curves", curves.__doc__)
    parser.add_argument("--run", required=True, type=Path, help="folder written by fit")
    parser.add_argument(
        "--output", default=Path("curves.png"), type=Path, help=f"{', '.join(ENDINGS)} (default: curves.png)"
    )
    options = parser.parse(arguments)
    if options.output.suffix not in ENDINGS:
        raise ValueError(f"--output must end in {', '.join(ENDINGS)}; got {options.output}.")
    figure = training_figure(options.run, coefficients_of(options.run))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output, dpi=150)
    print(f"figure {options.output}")
    return 0


def coefficients_of(run: Path) -> dict[str, float]:
    """The coefficients of the loss terms of a run, those of the model's default recipe included.

    Raises:
        ValueError: the config of the run names no model that can be imported.
    """
    if not (run / "config.yaml").is_file():
        return {}
    model = read_config(run / "config.yaml")["model"]
    default = getattr(find_class(model["class_path"], models(), str(run / "config.yaml")), "default_recipe", None)
    given = (model.get("init_args") or {}).get("recipe") or {}
    return {**(getattr(default, "coefficients", None) or {}), **(given.get("coefficients") or {})}
