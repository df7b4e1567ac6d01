"""All that `import zoo` offers, and the only list of families."""

from zoo import circuits, concepts, parts, prototypes
from zoo.checkpoint import save
from zoo.evidence import Evidence, Unit
from zoo.explanation import Explanation
from zoo.module import ExplainingForward, SelfInterpretable
from zoo.pretrained import list_checkpoints
from zoo.pretrained import load_checkpoint as load
from zoo.registry import create_model, list_models

__all__ = [
    "Evidence",
    "ExplainingForward",
    "Explanation",
    "SelfInterpretable",
    "Unit",
    "circuits",
    "concepts",
    "create_model",
    "list_checkpoints",
    "list_models",
    "load",
    "parts",
    "prototypes",
    "save",
]
