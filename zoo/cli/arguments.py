"""The argument parser of a command: errors in one line, with the nearest option."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from zoo.utils.errors import did_you_mean


class CommandParser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises errors as `ValueError`, for `zoo.cli.main` to print.

    Args:
        command: name of the command.
        description: what it does, for `--help`.
    """

    def __init__(self, command: str, description: str | None) -> None:
        super().__init__(f"train.py {command}", description=description, allow_abbrev=False)
        self.command = command

    def parse(self, args: Sequence[str]) -> argparse.Namespace:
        """Parses all arguments.

        Raises:
            ValueError: an unknown option, a missing one, or a value of the wrong type.
        """
        options, rest = self.parse_known_args(args)
        self.refuse(rest)
        return options

    def parse_with_overrides(self, args: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """Parses the options of the command, and returns arguments `--data.NAME VALUE` as they are.

        Raises:
            ValueError: see `parse`.
        """
        options, rest = self.parse_known_args(args)
        self.refuse([word for word in rest if word.startswith("-") and not word.startswith("--data.")])
        return options, rest

    def refuse(self, rest: Sequence[str]) -> None:
        """Raises an error about the first of `rest`, arguments that no option takes; passes if there are none.

        Raises:
            ValueError: names the argument and the nearest option.
        """
        if not rest:
            return
        name = rest[0].partition("=")[0]
        if not name.startswith("-"):
            self.error(f"unexpected argument '{rest[0]}'.")
        known = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        raise ValueError(f"{self.command} has no option '{name}'; {did_you_mean(name, known)}")

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.command}: {message.removesuffix('.')}. `{self.prog} --help` lists all options.")


def positive(text: str) -> int:
    """The type of an option that is an integer from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer; got {text}")
    return int(text)
