"""Models whose units are parts of the input: groups of elements, patches, features."""

from zoo.parts.sop import SumOfParts

__all__ = ["SumOfParts"]
