"""TimeX and TimeX++ as options of one model: weights of the loss, landmarks, stages."""

from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

LANDMARKS = {"timex": 50, "timexpp": 0}
SHARED = {"task": 1.0, "size": 2.0, "smoothness": 0.06, "landmarks": 1.0}
TERMS = {
    "timex": {"consistency": 0.0, "labels": 1.0, "behaviour": 1.0},
    "timexpp": {"consistency": 1.0, "labels": 0.0, "behaviour": 0.0},
}


def recipe_of(preset: str, landmarks: bool) -> Recipe:
    """The default recipe of a preset, with or without landmarks."""
    joint = ("generator", "backbone", "head", *(("landmarks",) if landmarks else ()))
    last = (Stage("project"), Stage("head", epochs=2, train=("head",))) if landmarks else ()
    return Recipe(
        stages=(
            Stage("fit_baseline"),
            Stage("reference", epochs=20, train=("backbone", "head")),
            Stage("start"),
            Stage("masks", epochs=5, train=("generator",)),
            Stage("train", epochs=20, train=joint),
            Stage("tune", epochs=5, train=joint[1:]),
            *last,
        ),
        lr=1e-3,
        weight_decay=0.0,
        optimizer="adam",
        coefficients={**SHARED, **TERMS[preset]},
    )
