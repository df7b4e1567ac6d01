"""When prototypes are what an explanation says that they are: after `push`, until something changes them."""

from collections.abc import Sequence

from zoo.training.stages import Stage


class PushRule:
    """Which trainings undo the projection of prototypes, and what is refused without it.

    Whether the prototypes are projected is a buffer of the layer that owns them, so that it travels with the weights.

    Args:
        what: the prototypes are after `push`, in the plural, such as "patches of training images".
        free: parameter groups that may train after it.
    """

    def __init__(self, what: str, free: Sequence[str] = ()) -> None:
        self.what, self.free = what, frozenset(free)

    def undone_by(self, stage: Stage) -> bool:
        """Whether a stage changes prototypes, or what they are compared with."""
        return bool(set(stage.trained) - self.free)

    def require(self, pushed: bool) -> None:
        """Refuses to explain with prototypes that are not projected.

        Raises:
            RuntimeError: they are not; the message gives the remedy.
        """
        if not pushed:
            raise RuntimeError(
                f"the prototypes are not {self.what}, because they changed after the last push or were never pushed, "
                "so an explanation by them would not be true: train with a recipe that ends in push and "
                f"{self._last_stage()}, or call push()."
            )

    def check_recipe(self, stages: Sequence[Stage]) -> None:
        """Refuses a recipe that changes prototypes, or what they are compared with, after the last `push`.

        Raises:
            ValueError: what to add to the recipe.
        """
        last = max((i for i, stage in enumerate(stages) if self.undone_by(stage)), default=-1)
        if not any(stage.name == "push" for stage in stages[last + 1 :]):
            more = f"more than {self._groups()}" if self.free else "anything"
            raise ValueError(
                f"the prototypes are not {self.what} at the end of this recipe: after its last stage that trains "
                f"{more}, add {{name: push}} and {self._last_stage()}."
            )

    def _last_stage(self) -> str:
        return f"a stage that trains {self._groups()} alone" if self.free else "{name: measure, epochs: 1, train: []}"

    def _groups(self) -> str:
        return ", ".join(sorted(self.free))
