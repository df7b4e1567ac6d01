"""Concept bottleneck models: they predict named concepts, and the class from the concepts alone."""

from zoo.core.lazy import lazy_family

OTHERS = {
    "OpenCLIP": "layers.image_text",
    "read_dictionary": "layers.dictionary_files",
    "save_scores": "layers.score_file",
    "score_concepts": "layers.image_text",
    "write_dictionary": "layers.dictionary_files",
}

__getattr__, __dir__ = lazy_family(__name__, OTHERS)
