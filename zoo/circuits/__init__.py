"""Networks with few weights, whose computations can be drawn as circuits."""

from zoo.core.lazy import lazy_family

OTHERS = {
    "Choice": "analysis.token_pair_task",
    "Circuit": "analysis.circuit",
    "Modular": "analysis.modular",
    "Paths": "analysis.acdc",
    "Pruning": "analysis.pruning",
    "ReadNode": "analysis.steering",
    "Steering": "analysis.steering",
    "acdc": "analysis.acdc",
    "prune": "analysis.pruning",
    "rank_reads": "analysis.steering",
    "steer": "analysis.steering",
}

__getattr__, __dir__ = lazy_family(__name__, OTHERS)
