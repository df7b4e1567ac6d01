"""Values far from everything that a model was trained on, such as fill values."""

from collections.abc import Sequence

from torch import Tensor

FAR = 1000.0  # standard deviations


def outlier(x: Tensor, names: Sequence[str], values: Tensor) -> list[str]:
    """A warning about the value that is farthest from the mean of the training data, if it is far from it.

    Args:
        x: normalised values (..., F).
        names: of the F columns.
        values: the same before they were normalised.
    """
    place = int(x.abs().argmax())
    far = float(x.abs().flatten()[place])
    if far < FAR:
        return []
    name, value = names[place % len(names)], float(values.flatten()[place])
    return [f"'{name}' is {value:.6g}, which is {far:.3g} standard deviations from the mean of the training data."]
