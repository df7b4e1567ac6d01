"""All that `import zoo` offers, and the only list of families."""

from zoo import additive, circuits, concepts, graphs, parts, policies, prototypes, selectors, sequences
from zoo.audit.drift import measure_drift
from zoo.audit.record import record
from zoo.audit.verification import verify_record
from zoo.audit.versions import compare_models
from zoo.checkpoints.pretrained import load_checkpoint as load
from zoo.checkpoints.save import save
from zoo.checkpoints.shipped import list_checkpoints
from zoo.conversion.convert import convert
from zoo.core.evidence import Evidence, Unit
from zoo.core.explanation import Explanation
from zoo.core.module import ExplainingForward, SelfInterpretable
from zoo.core.registry import create_model, list_models
from zoo.networks.classifiers import register_classifier
from zoo.training.calibration import calibrate
from zoo.training.fit import fit

__all__ = [
    "Evidence",
    "ExplainingForward",
    "Explanation",
    "SelfInterpretable",
    "Unit",
    "additive",
    "calibrate",
    "circuits",
    "compare_models",
    "concepts",
    "convert",
    "create_model",
    "fit",
    "graphs",
    "list_checkpoints",
    "list_models",
    "load",
    "measure_drift",
    "parts",
    "policies",
    "prototypes",
    "record",
    "register_classifier",
    "save",
    "selectors",
    "sequences",
    "verify_record",
]
