"""Transformers whose units are parts of the network: heads, MLPs, neurons and channels, some drawn as circuits."""

from zoo.core.lazy import lazy_family

OTHERS = {
    "Circuit": "network.circuit",
    "Modular": "analysis.modular",
    "Paths": "analysis.acdc",
    "Positions": "network.options",
    "Pruning": "analysis.mask_search",
    "Interchange": "analysis.interchange",
    "ReadNode": "analysis.read_nodes",
    "Sparsity": "network.options",
    "Steering": "analysis.steering",
    "TokenPairTask": "analysis.token_pair_task",
    "acdc": "analysis.acdc",
    "from_openai": "conversion.openai",
    "interchange": "analysis.interchange",
    "openai_tokenizer": "conversion.openai_tokenizer",
    "prune": "analysis.pruning",
    "rank_reads": "analysis.read_nodes",
    "steer": "analysis.steering",
}

__getattr__, __dir__ = lazy_family(__name__, OTHERS)
