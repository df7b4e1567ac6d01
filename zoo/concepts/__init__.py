"""Concept bottleneck models: they predict named concepts, and the class from the concepts alone."""

from zoo.core.lazy import lazy_family

OTHERS = {
    "CodeOptions": "layers.sparse_codes",
    "OpenCLIP": "layers.image_text",
    "fit_dictionary": "layers.fit_dictionary",
    "read_dictionary": "layers.dictionary_files",
    "save_scores": "layers.score_file",
    "score_concepts": "layers.image_text",
    "write_dictionary": "layers.dictionary_files",
}

__getattr__, __dir__ = lazy_family(__name__, OTHERS)
