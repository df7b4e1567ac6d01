"""Neural networks that explain themselves: train one, load one, and get the explanation with each prediction.

What there is to import is listed in `zoo.api`. It is imported when a first name of it is asked for, and torch with it,
so that the command line can tell its usage without either.
"""

from typing import TYPE_CHECKING

from zoo.core.renderer import set_renderer

__version__ = "0.1.0"

set_renderer("zoo.views.renderer")

if TYPE_CHECKING:
    from zoo.api import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module
        from importlib.util import find_spec

        if name.startswith("__") and name != "__all__":  # what Python itself asks a module for
            raise AttributeError(f"module 'zoo' has no attribute '{name}'")
        if find_spec(f"zoo.{name}"):
            return import_module(f"zoo.{name}")
        api = import_module("zoo.api")
        if not hasattr(api, name):
            raise AttributeError(f"module 'zoo' has no attribute '{name}'")
        return globals().setdefault(name, getattr(api, name))

    def __dir__() -> list[str]:
        from zoo.api import __all__

        return sorted({*globals(), *__all__})
