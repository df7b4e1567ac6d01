"""Networks with few weights, whose computations can be drawn as circuits."""

from zoo.circuits.transformer import SparseTransformer

__all__ = ["SparseTransformer"]
