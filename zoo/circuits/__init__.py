"""Networks with few weights, whose computations can be drawn as circuits."""

from zoo.circuits.analysis.acdc import Paths, acdc
from zoo.circuits.analysis.circuit import Circuit
from zoo.circuits.analysis.modular import Modular
from zoo.circuits.analysis.pruning import Pruning, prune
from zoo.circuits.analysis.steering import ReadNode, Steering, rank_reads, steer
from zoo.circuits.analysis.token_pair_task import Choice
from zoo.circuits.bridged_transformer import BridgedTransformer
from zoo.circuits.self_ablating import SelfAblatingTransformer
from zoo.circuits.sparse_transformer import SparseTransformer

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
