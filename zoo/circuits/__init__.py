"""Transformers whose units are parts of the network: heads, MLPs, neurons and channels, some drawn as circuits."""

from zoo.core.lazy import lazy_family

OTHERS = {
    "Circuit": "network.circuit",
    "Modular": "analysis.modular",
    "Paths": "analysis.acdc",
    "Positions": "network.options",
    "Pruning": "analysis.mask_search",
    "CorruptedTask": "analysis.path_attribution",
    "Decomposition": "analysis.decomposition",
    "Effect": "analysis.intervene",
    "Experiment": "analysis.story",
    "Intervention": "analysis.intervene",
    "ReadNode": "analysis.read_nodes",
    "Sparsity": "network.options",
    "Steering": "analysis.steering",
    "Story": "analysis.story",
    "TokenPairTask": "analysis.token_pair_task",
    "acdc": "analysis.acdc",
    "decompose": "analysis.decomposition",
    "Gpt2Graph": "analysis.gpt2",
    "PathScores": "analysis.path_attribution",
    "from_openai": "conversion.openai",
    "intervene": "analysis.intervene",
    "load_gpt2": "analysis.gpt2",
    "needed_paths": "analysis.path_attribution",
    "openai_tokenizer": "conversion.openai_tokenizer",
    "parse_interventions": "analysis.intervene",
    "prune": "analysis.pruning",
    "rank_nodes": "analysis.attribution",
    "rank_reads": "analysis.read_nodes",
    "score_paths": "analysis.path_attribution",
    "steer": "analysis.steering",
}

__getattr__, __dir__ = lazy_family(__name__, OTHERS)
