"""Which pairs of patches become the keypoints of an image, as one value with checked fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.options import fold_options

Foreground = Literal["pairs", "patches", "none"]
Representative = Literal["centre", "similarity"]


@dataclass(frozen=True)
class Points:
    """Which pairs of patches become keypoints."""

    keypoints: int = 10
    """P, the largest number of keypoints of an image; 0 counts every pair, P = n."""
    foreground: Foreground = "pairs"
    """"pairs": all patches compete for matches, of which those with both ends in the foreground count, as published;
    "patches": only foreground patches compete; "none": background counts too."""
    mutual: bool = True
    """Whether a pair needs each of the two to be the nearest of the other, as published; otherwise every patch forms a
    pair with the exemplars' patch nearest to it."""
    margin: float = 0.2
    """Of the foreground, in standard deviations."""
    representative: Representative = "centre"
    """The pair that represents a cluster: the one nearest to its "centre", as published, or that of largest
    "similarity"."""

    def __post_init__(self) -> None:
        check_choice(get_args(Foreground), foreground=self.foreground)
        check_choice(get_args(Representative), representative=self.representative)
        check_at_least(0, keypoints=self.keypoints)


def upgrade_points(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Converts arguments of an older checkpoint, which held the fields one by one; current ones stay unchanged."""
    if "points" in arguments:
        return dict(arguments)
    former = {"foreground": True, "representative": "similarity", **arguments}
    former["foreground"] = "patches" if former["foreground"] else "none"
    names = ("keypoints", "foreground", "margin", "representative")
    return fold_options(former, {name: ("points", name) for name in names})
