"""Parameters of functions and constructors: what they are, and which options they do not have."""

from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, signature
from typing import Any

from zoo.utils.errors import did_you_mean


def check_options(function: Callable[..., Any], options: Mapping[str, Any], where: str) -> None:
    """Refuses options that a function does not take; passes if it takes any, by `**kwargs`.

    Args:
        function: or a class; its first parameter is not an option.
        options: by name.
        where: what has the options, for the message, such as "backbone 'convnet'".

    Raises:
        TypeError: names the option, and the nearest one that exists.
    """
    _, *parameters = signature(function).parameters.values()
    if not any(p.kind is Parameter.VAR_KEYWORD for p in parameters):
        refuse_unknown(options, [p.name for p in parameters], where)


def refuse_unknown(options: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuses options that are not among the known ones.

    Raises:
        TypeError: names the option, and the nearest known one.
    """
    names = list(known)
    for option in options:
        if option not in names:
            raise TypeError(f"{where} has no option '{option}'; {did_you_mean(option, names)}")


def init_parameters(cls: type) -> dict[str, Parameter]:
    """The parameters that a class accepts, by name.

    Where a constructor has `**kwargs`, the parameters of the next constructor in the method resolution order follow.
    """
    found: dict[str, Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        own = list(signature(vars(base)["__init__"]).parameters.values())[1:]
        for parameter in own:
            if parameter.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL):
                found.setdefault(parameter.name, parameter)
        if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in own):
            break
    return found
