"""The command line. Each user error is reported in one line; set `ZOO_DEBUG=1` for the traceback."""

import os
import sys
from dataclasses import dataclass
from importlib import import_module

import zoo
from zoo.utils.errors import did_you_mean
from zoo.utils.printable import LINES, printable
from zoo.utils.shards import processes


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    Attributes:
        module: imported when the command is run.
        function: of that module; takes the arguments that follow the command and returns the exit code.
        help: one line for the list of commands.
        shared: whether several processes can share its work, see `zoo.utils.shards`.
    """

    module: str
    function: str
    help: str
    shared: bool = False


COMMANDS = {
    "fit": Command("zoo.cli.fit", "fit", "train a model from a config, then test and save it", True),
    "convert": Command("zoo.cli.convert", "convert", "convert a trained network to a self-interpretable model", True),
    "validate": Command("zoo.cli.validate", "validate", "compute the metrics of a run on validation data", True),
    "test": Command("zoo.cli.validate", "test", "compute the metrics of a run on test data", True),
    "predict": Command("zoo.cli.predict", "predict", "write the predictions of a run to a CSV file", True),
    "explain": Command("zoo.cli.explain", "explain", "explain the predictions for files, as pages and JSON", True),
    "serve": Command("zoo.cli.serve", "serve", "answer requests over HTTP with scores and explanations"),
    "show": Command("zoo.cli.show", "show", "write a page with all units of a model", True),
    "curves": Command("zoo.cli.curves", "curves", "plot the losses and metrics of a run by epoch"),
    "evaluate": Command("zoo.cli.evaluate", "evaluate", "run metrics on a checkpoint", True),
    "name": Command("zoo.cli.name", "name", "name the units of a model by annotated attributes"),
    "play": Command("zoo.cli.play", "play_episode", "write a page that plays an episode of a policy"),
    "certify": Command("zoo.cli.certify", "certify_checkpoint", "bound the errors of explanations on new inputs"),
    "diff": Command("zoo.cli.diff", "diff", "compare two versions of a model on the same inputs"),
    "leaderboard": Command("zoo.cli.leaderboard", "leaderboard", "compare trained models on the same data"),
    "prune": Command("zoo.cli.prune", "prune_tasks", "find the circuits of tasks in a sparse transformer", True),
    "circuit": Command(
        "zoo.cli.circuit", "write_circuit_pages", "write the page of a circuit, which runs in a browser"
    ),
    "intervene": Command(
        "zoo.cli.intervene",
        "intervene_on_places",
        "swap, ablate or steer nodes, heads and edges of a circuit",
    ),
    "attribute": Command("zoo.cli.attribute", "attribute_paths", "find the paths of a GPT-2 that a task needs"),
    "remove-prototypes": Command(
        "zoo.cli.remove_prototypes", "remove_prototypes", "remove prototypes from a model and refit its head"
    ),
    "merge-prototypes": Command(
        "zoo.cli.merge_prototypes", "merge_prototypes", "merge prototypes that fire alike and refit the head"
    ),
    "edit": Command("zoo.cli.edit", "edit", "change the curves of an additive model"),
    "score-concepts": Command("zoo.cli.score_concepts", "score_concepts", "score training images against phrases"),
    "export": Command("zoo.cli.export", "export_checkpoint", "export a checkpoint to ONNX or torch.export"),
    "shrink": Command("zoo.cli.shrink", "shrink", "store a checkpoint in half precision or int8"),
    "share-backbone": Command(
        "zoo.cli.share_backbone", "share_backbone", "store the tuned backbone of a run for other models"
    ),
    "verify": Command("zoo.cli.verify", "verify", "verify decision records by `explain --record`"),
    "monitor": Command("zoo.cli.monitor", "monitor", "test whether reasons drifted between two periods"),
    "check": Command("zoo.cli.check", "check", "verify checkpoint integrity"),
    "push-to-hub": Command("zoo.cli.push_to_hub", "push_to_hub", "upload a checkpoint to the Hugging Face hub"),
    "list": Command("zoo.cli.list", "list_things", "list models, data, configs, checkpoints, tasks or weights"),
}
USAGE = """usage: python train.py [--code CODE] COMMAND [OPTIONS]

commands:
{commands}

`python train.py COMMAND --help` lists the options of a command; `python train.py --version` prints the version.
`--code FILE.py` or `--code FILE.py:FUNCTION` before the command imports code of your own, which a checkpoint needs.
Options can override any value of a config:
  python train.py fit --config configs/prototypes/protopnet_digits.yaml --model.init_args.dim 32 --trainer.devices 2
  python train.py explain --checkpoint runs/protopnet_digits/checkpoint --input image.png
"""
ERRORS = (ValueError, TypeError, OSError, ArithmeticError, ImportError, RuntimeError)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: of the command line, by default those of this process.

    Returns:
        the exit code: 0 for success, 1 if a part of the work failed, 2 for an error.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(zoo.__version__)
        return 0
    try:
        while arguments[:1] == ["--code"]:
            arguments = use_code(arguments)
        return run(arguments[0], arguments[1:])
    except BrokenPipeError:  # the reader has seen enough, as `head`
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 (for the flush at exit)
        return 141
    except ERRORS as error:
        if os.environ.get("ZOO_DEBUG"):
            raise
        print(f"error: {printable(error, keep=LINES)}", file=sys.stderr)
        return 2


def console() -> None:
    """Entry point of the console script `zoo`."""
    sys.exit(main())


def usage() -> str:
    """The usage text, with one line for each command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()]
    return USAGE.format(commands="\n".join(lines))


def use_code(arguments: list[str]) -> list[str]:
    """Imports the code that arguments begin with, `--code CODE`, and returns the rest.

    Raises:
        ValueError: no code or no command follows; or see `zoo.utils.user_code.import_code`.
    """
    if len(arguments) < 3:
        raise ValueError("--code stands before a command: python train.py --code FILE.py:FUNCTION COMMAND ...")
    from zoo.utils.user_code import import_code

    found = import_code(arguments[1])
    if found.function is not None:
        from zoo.networks.classifiers import register_classifier  # imports torch

        register_classifier(found.name, found.function)
    return arguments[2:]


def run(name: str, arguments: list[str]) -> int:
    """Runs the command `name` and returns its exit code.

    Raises:
        ValueError: there is no such command.
    """
    if name not in COMMANDS:
        raise ValueError(f"no command named '{name}'; {did_you_mean(name, COMMANDS)}")
    command = COMMANDS[name]
    if not command.shared and (count := processes()) > 1:
        shared = ", ".join(name for name, command in COMMANDS.items() if command.shared)
        raise ValueError(
            f"{name} runs in one process, and here are {count} (WORLD_SIZE), which would do the same work; start it "
            f"without torchrun. Several processes can share the work of {shared}."
        )
    if {"--help", "-h"} & set(arguments):
        from zoo.cli import run_help  # here, because it knows all data modules

        if name in run_help.COMMANDS:
            print(run_help.run_help(name, command.module, arguments))
            return 0
    return getattr(import_module(command.module), command.function)(arguments)
