"""Error messages that help: near matches of unknown names, and mistakes in a model's own code."""

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 12  # names in a message, at most
COMPARED = 5_000  # names that are compared with an unknown one, which takes milliseconds for each hundred
LONGEST = 80  # characters of a name that is compared


class ContractError(TypeError):
    """A model's own code breaks its contract; the message names the class and the method."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Ends the message about an unknown name: "did you mean 'a'?" if one is near, else "there are: a, b, c."."""
    names = list(known)
    by_case = {n.lower(): n for n in names[:COMPARED] if len(n) <= LONGEST}
    near = get_close_matches(str(name)[:LONGEST].lower(), by_case, 1)
    if near:
        return f"did you mean '{by_case[near[0]]}'?"
    more = f", ... ({len(names)} in all)" if len(names) > SHOWN else ""
    return f"there are: {', '.join(names[:SHOWN])}{more}." if names else "there are none."


def short(text: str, most: int = 300) -> str:
    """A text on one line, of at most `most` characters."""
    line = " ".join(text[: 2 * most].split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def outside_checkpoint(argument: str, value: object) -> ValueError:
    """Builds the error for an argument of a checkpoint that names a file or a model of a hub.

    A checkpoint may come from anybody, so loading it must not read any file outside of it.
    """
    return ValueError(
        f"'{argument}' is {str(value)!r}, outside of the checkpoint; a checkpoint must hold everything that its model "
        "needs, and no other file is read. Get it again, or create the model with zoo.create_model and save it."
    )
