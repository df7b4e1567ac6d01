"""The hook through which explanations find their views: `zoo` registers a module, and nothing here imports it."""

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from zoo.core.curves import Curve  # which imports torch

_registered: list[str] = []  # at most one module


class Renderer(Protocol):
    """The functions of a module that shows explanations."""

    def text(self, explanation: Any, top: int = 8) -> str:
        """A table for a terminal; `str(explanation)`."""
        ...

    def html(self, explanation: Any, top: int = 8) -> str:
        """A fragment of HTML; what a notebook displays."""
        ...

    def sentence(self, explanation: Any, locale: str = "en", top: int = 3) -> str:
        """The explanation in words; `explanation.sentence()`."""
        ...

    def figure(self, explanation: Any, top: int = 8, curves: "Sequence[Curve]" = ()) -> "Figure":
        """A matplotlib figure; `explanation.figure()`."""
        ...


def set_renderer(module: str) -> None:
    """Registers the module that shows explanations, in place of an earlier one.

    Args:
        module: dotted name, imported when an explanation is first shown; see `Renderer` for its functions.
    """
    _registered[:] = [module]


def get_renderer() -> Renderer:
    """The registered module, imported.

    Raises:
        RuntimeError: no module is registered.
    """
    if not _registered:
        raise RuntimeError(
            "no renderer is registered, so explanations cannot be shown; call "
            "zoo.core.renderer.set_renderer('zoo.views.renderer')."
        )
    return cast(Renderer, import_module(_registered[0]))
