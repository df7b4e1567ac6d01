"""Where each public data module is defined, so that using one does not import the others."""

from importlib import import_module
from typing import Any

from zoo.utils.errors import did_you_mean

MODULES = {
    "ImageData": "zoo.data.base.images",
    "DataModule": "zoo.data.base.module",
    "CodeData": "zoo.data.real.code",
    "Adult": "zoo.data.real.adult",
    "AudioTable": "zoo.data.real.audio_table",
    "CUB": "zoo.data.real.cub",
    "Digits": "zoo.data.real.digits",
    "GraphFiles": "zoo.data.real.graph_files",
    "ImageFolder": "zoo.data.real.image_folder",
    "ImageShards": "zoo.data.real.image_shards",
    "MNISTAdd": "zoo.data.real.mnist_add",
    "NetworkFiles": "zoo.data.real.network_files",
    "NoisyPicture": "zoo.data.real.noisy_picture",
    "SklearnTable": "zoo.data.real.sklearn_table",
    "SmilesTable": "zoo.data.real.smiles_table",
    "SST2": "zoo.data.real.sst2",
    "Forecast": "zoo.data.real.forecast",
    "EraserMovies": "zoo.data.real.eraser_movies",
    "SeriesArchive": "zoo.data.real.series",
    "SeriesArrays": "zoo.data.real.series_arrays",
    "CEBaB": "zoo.data.real.cebab",
    "Table": "zoo.data.real.table",
    "LongSeriesTable": "zoo.data.real.long_series",
    "SeriesTable": "zoo.data.real.series_table",
    "TextTable": "zoo.data.real.text_table",
    "TorchGeometricData": "zoo.data.real.torch_geometric_data",
    "TorchvisionData": "zoo.data.real.torchvision",
    "ForcedArtefact": "zoo.data.synthetic.artefacts",
    "CanvasDigits": "zoo.data.synthetic.canvas",
    "DecoyDigits": "zoo.data.synthetic.decoys",
    "DensityFields": "zoo.data.synthetic.fields",
    "BA2Motifs": "zoo.data.synthetic.motif_graphs",
    "SPMotif": "zoo.data.synthetic.motif_graphs",
    "RuleMolecules": "zoo.data.synthetic.rule_molecules",
    "BAShapes": "zoo.data.synthetic.role_networks",
    "TreeCycles": "zoo.data.synthetic.role_networks",
    "Infection": "zoo.data.synthetic.infection",
    "AnnotatedControl": "zoo.data.synthetic.annotated_control",
    "Control": "zoo.data.synthetic.control",
    "SwitchingPanels": "zoo.data.synthetic.panels",
    "PartBirds": "zoo.data.synthetic.part_birds",
    "PlantedCircuit": "zoo.data.synthetic.planted_circuit",
    "PlantedSeries": "zoo.data.synthetic.planted_series",
    "RuleTable": "zoo.data.synthetic.rules",
    "SkinConductance": "zoo.data.synthetic.skin_conductance",
    "Sprites": "zoo.data.synthetic.sprites",
    "StrokeDigits": "zoo.data.synthetic.stroke_digits",
    "SwitchingSeries": "zoo.data.synthetic.switching_series",
    "TaggedMusic": "zoo.data.synthetic.tagged_music",
    "SyntheticTable": "zoo.data.synthetic.tables",
    "ConceptToy": "zoo.data.synthetic.toys",
}


def find(name: str) -> Any:
    """The class of a public data module by name.

    Raises:
        ValueError: there is no such data module; the message names the closest one.
    """
    if name not in MODULES:
        raise ValueError(f"no data module named '{name}'; {did_you_mean(name, MODULES)}")
    return getattr(import_module(MODULES[name]), name)
