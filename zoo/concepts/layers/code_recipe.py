"""The recipe of a sparse code, and what it must have."""

from collections.abc import Sequence

from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

SPARSITY = {"vanilla": 0.1, "jumprelu": 0.003}  # weight of the penalty of each kind that has one
COEFFICIENTS = {"reconstruction": 1.0, "auxiliary": 1 / 32}  # of the losses of all kinds


def code_recipe(kind: str, head: str, own_head: bool) -> Recipe:
    """The default recipe.

    Args:
        kind: of the code, see `CodeOptions`.
        head: "replacing", "explaining" or "sparse".
        own_head: train the head on the backbone first, for lack of a black box to take it from.
    """
    return Recipe(
        stages=(
            *((Stage("head", epochs=10, train=("head",)),) if own_head else ()),
            Stage("centre"),
            Stage("code", epochs=10, train=("code",), cosine=True),
            *((Stage("sparsify", per_class=10),) if head == "sparse" else ()),
            Stage("gallery"),
            Stage("measure", epochs=1, train=()),
        ),
        lr=3e-3,
        weight_decay=0.0,
        optimizer="adam",
        coefficients={"task": 1.0, "sparsity": SPARSITY.get(kind, 0.0), "contrast": 0.1, **COEFFICIENTS},
    )


def check_stages(stages: Sequence[Stage], head: str, taught: bool, coded: bool) -> None:
    """Refuses a recipe at whose end there would be no code of the features, or no head.

    Args:
        stages: of the recipe.
        head: "replacing", "explaining" or "sparse".
        taught: whether backbone and head are those of a black box.
        coded: whether there is a trained dictionary to start from.

    Raises:
        ValueError: what is missing, or that the backbone is trained.
    """
    centred = False
    for stage in stages:
        if "backbone" in stage.trained:
            raise ValueError(f"SparseCode codes a frozen backbone, but stage '{stage.name}' trains it; leave it out.")
        if "code" in stage.trained and not centred:
            raise ValueError(
                f"stage '{stage.name}' trains the code before its features are centred; add {{name: centre}} before it."
            )
        centred = centred or stage.name == "centre"
    trained = {group for stage in stages for group in stage.trained}
    if "code" not in trained and not coded:
        raise ValueError("no stage trains the code; add one with epochs and train: [code], after {name: centre}.")
    if head == "sparse" and "head" not in trained and not any(stage.per_class for stage in stages):
        raise ValueError("no stage fits the sparse head; add {name: sparsify, per_class: 10} after the code.")
    if head != "sparse" and "head" not in trained and not taught:
        raise ValueError(
            "no stage trains the head; add one with train: [head], or take backbone and head from a black box: "
            "teacher: {run: ..., start: true, weight: 0}."
        )
