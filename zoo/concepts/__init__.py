"""Concept bottlenecks: first named concepts are predicted, then the answer from these alone."""

from zoo.core.lazy import lazy_family

OTHERS = {
    "OpenCLIP": "layers.image_text",
    "save_scores": "layers.projected",
    "score_concepts": "layers.projected",
}

__getattr__, __dir__ = lazy_family(__name__, OTHERS)
