"""Networks with few weights, whose computations can be drawn as circuits."""

from zoo.circuits.choice import Choice
from zoo.circuits.circuit import Circuit
from zoo.circuits.pruning import Pruning, prune
from zoo.circuits.transformer import SparseTransformer

__all__ = ["Choice", "Circuit", "Pruning", "SparseTransformer", "prune"]
