"""Models whose units are parts of the input: groups of elements, patches, features."""

from zoo.parts.bagnet import BagNet
from zoo.parts.senn import SENN
from zoo.parts.sop import SumOfParts

__all__ = ["SENN", "BagNet", "SumOfParts"]
