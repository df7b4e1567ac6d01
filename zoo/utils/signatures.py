"""Parameters of constructors, followed through `**kwargs` into the parent classes."""

from inspect import Parameter, signature


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
