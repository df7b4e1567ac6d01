"""The units of a sparse code: its atoms, with names, training examples and pictures, and the residual."""

from typing import Any

from zoo.concepts.layers.atom_names import AtomNames
from zoo.concepts.layers.gallery import Gallery
from zoo.concepts.layers.token_examples import TokenExamples
from zoo.core.evidence import Unit
from zoo.core.training_examples import TrainingExamples
from zoo.domain import Domain, TextDomain

NAMING = 2  # words in the name of an atom of texts


def atom_units(
    names: AtomNames, shown: Gallery | TokenExamples | TrainingExamples, domain: Domain, residual: bool, common: int = 0
) -> list[Unit]:
    """One unit for each atom, and the residual last.

    Args:
        names: of the atoms by concepts; an atom of texts without one is named by its strongest tokens.
        shown: the top-activating training examples.
        domain: of the inputs.
        residual: whether there is a unit for what the atoms do not code.
        common: number of atoms, the first ones, for what both of a pair have in common; 0 without pairs.
    """
    examples = shown if isinstance(shown, TrainingExamples) else shown.examples
    pictures = shown.picture.cpu() if isinstance(shown, Gallery) else None
    units: list[Unit] = []
    described = zip(names.names(domain.concepts), names.auc.tolist(), names.concept.tolist(), strict=True)
    for k, (name, area, concept) in enumerate(described):
        found = examples.sources(k)
        active = [example["index"] for example in found if example["activation"] > 0]
        source: dict[str, Any] = {"supervision": "discovered"}
        if common:
            source["of pairs"] = "what both have in common" if k < common else "what differs"
        if found:
            source |= {"training examples": active} if active else {"dead": True}
        if active and isinstance(shown, TokenExamples) and isinstance(domain, TextDomain):
            source["words"] = words = shown.words(k, domain)
            name = name if concept >= 0 else f"{name} ({', '.join(words[:NAMING])})"
        if concept >= 0:
            source["AUC of that concept"] = round(area, 3)
        units.append(Unit(name, "concept", None, source, pictures[k] if pictures is not None and active else None))
    return [*units, Unit("residual", "residual", source={"supervision": "none"})] if residual else units
