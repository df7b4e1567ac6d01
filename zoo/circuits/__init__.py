"""Networks with few weights, whose computations can be drawn as circuits."""

from zoo.circuits.acdc import Paths, acdc
from zoo.circuits.bridge import BridgedTransformer
from zoo.circuits.choice import Choice
from zoo.circuits.circuit import Circuit
from zoo.circuits.modular import Modular
from zoo.circuits.pruning import Pruning, prune
from zoo.circuits.self_ablating import SelfAblatingTransformer
from zoo.circuits.steering import ReadNode, Steering, rank_reads, steer
from zoo.circuits.transformer import SparseTransformer

__all__ = [
    "BridgedTransformer",
    "Choice",
    "Circuit",
    "Modular",
    "Paths",
    "Pruning",
    "ReadNode",
    "SelfAblatingTransformer",
    "SparseTransformer",
    "Steering",
    "acdc",
    "prune",
    "rank_reads",
    "steer",
]
