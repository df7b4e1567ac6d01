"""`--help` of fit, validate, test and predict, without importing what they run."""

import ast
from textwrap import fill

from zoo.cli import class_help
from zoo.cli.classes import class_place, data_modules, models

COMMANDS = ("fit", "validate", "test", "predict")
FLAGS = ("--help", "-h")
TRAINER = ("lightning.pytorch.trainer.trainer", "Trainer")
SETTINGS = "zoo.cli.settings"


def run_help(command: str, module: str, arguments: list[str]) -> str:
    """The help that some arguments ask for: of a model, of data, of the trainer, or of the command.

    Args:
        command: one of `COMMANDS`.
        module: where it is defined.
        arguments: that follow the command, `--help` among them.

    Raises:
        FileNotFoundError, ValueError: see `zoo.cli.config.read_arguments`; or there is no such model or data.
    """
    rest = [word for word in arguments if word not in FLAGS]
    if rest == ["trainer"]:
        return class_help.class_help(*TRAINER, "trainer")
    sections = named_classes(rest, command)
    if not sections:
        return command_help(command, module)
    texts = [
        class_help.class_help(*place, section, ("domain",) if section == "model" else ())
        for section, place in sections.items()
    ]
    return "\n\n".join([*texts, f"`python train.py {command} --help` lists the options of the command."])


def named_classes(arguments: list[str], command: str) -> dict[str, tuple[str, str]]:
    """Module and name of the classes that arguments or their configs give for model and data."""
    if not arguments:
        return {}
    from zoo.cli.config import read_arguments

    config, files = read_arguments(arguments, command)
    known = {"model": models(), "data": data_modules()}
    return {
        section: class_place(str(config[section]["class_path"]), known[section], f"{files}: {section}")
        for section in known
        if isinstance(config.get(section), dict) and "class_path" in config[section]
    }


def command_help(command: str, module: str) -> str:
    """What a command does, the models and data, and the options of a run."""
    tree = class_help.source(module)
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == command)
    constants = class_help.constants_of(class_help.source(SETTINGS))
    others = [name for name, only in ast.literal_eval(constants.get("ONLY", "{}")).items() if command not in only]
    paragraphs = (ast.get_docstring(function) or "").split("\n\nRaises:")[0].split("\n\n")
    about = "\n\n".join(fill(" ".join(paragraph.split()), class_help.WIDTH) for paragraph in paragraphs)
    return f"""usage: train.py {command} --config FILE [--NAME VALUE ...]
       train.py {command} --model MODEL --data DATA [--NAME VALUE ...]

{about}

MODEL and DATA, see `train.py list models` and `train.py list data`:
{names(models())}

{names(data_modules())}

Their options, with defaults:
  train.py {command} --model ProtoPNet --help
  train.py {command} --data ImageFolder --help
  train.py {command} --config FILE --help
Options of Lightning's Trainer, such as --trainer.max_epochs 5 or --trainer.devices 2:
  train.py {command} --help trainer

Options of a run:
  --config FILE
      config; of several, later ones take precedence
  --print_config
      print the config with all defaults, and exit
{class_help.fields_help(SETTINGS, "RunOptions", tuple(others))}"""


def names(known: dict[str, str]) -> str:
    """Names in indented lines."""
    return fill(", ".join(sorted(known)), class_help.WIDTH, initial_indent="  ", subsequent_indent="  ")
