"""Data modules: data sets for training, with a domain that describes their inputs and outputs.

Each class is imported on first access, so that using one data module does not import the others.
"""

from typing import TYPE_CHECKING

from zoo.data.registry import MODULES, find

if TYPE_CHECKING:
    from zoo.data.base.images import ImageData
    from zoo.data.base.module import DataModule
    from zoo.data.real.adult import Adult
    from zoo.data.real.audio_table import AudioTable
    from zoo.data.real.cebab import CEBaB
    from zoo.data.real.code import CodeData
    from zoo.data.real.cub import CUB
    from zoo.data.real.digits import Digits
    from zoo.data.real.eraser_movies import EraserMovies
    from zoo.data.real.forecast import Forecast
    from zoo.data.real.graph_files import GraphFiles
    from zoo.data.real.image_folder import ImageFolder
    from zoo.data.real.image_shards import ImageShards
    from zoo.data.real.long_series import LongSeriesTable
    from zoo.data.real.mnist_add import MNISTAdd
    from zoo.data.real.network_files import NetworkFiles
    from zoo.data.real.noisy_picture import NoisyPicture
    from zoo.data.real.series import SeriesArchive
    from zoo.data.real.series_arrays import SeriesArrays
    from zoo.data.real.series_table import SeriesTable
    from zoo.data.real.sklearn_table import SklearnTable
    from zoo.data.real.smiles_table import SmilesTable
    from zoo.data.real.sst2 import SST2
    from zoo.data.real.table import Table
    from zoo.data.real.text_table import TextTable
    from zoo.data.real.torch_geometric_data import TorchGeometricData
    from zoo.data.real.torchvision import TorchvisionData
    from zoo.data.synthetic.annotated_control import AnnotatedControl
    from zoo.data.synthetic.artefacts import ForcedArtefact
    from zoo.data.synthetic.canvas import CanvasDigits
    from zoo.data.synthetic.control import Control
    from zoo.data.synthetic.decoys import DecoyDigits
    from zoo.data.synthetic.fields import DensityFields
    from zoo.data.synthetic.infection import Infection
    from zoo.data.synthetic.motif_graphs import BA2Motifs, SPMotif
    from zoo.data.synthetic.panels import SwitchingPanels
    from zoo.data.synthetic.part_birds import PartBirds
    from zoo.data.synthetic.planted_circuit import PlantedCircuit
    from zoo.data.synthetic.planted_series import PlantedSeries
    from zoo.data.synthetic.role_networks import BAShapes, TreeCycles
    from zoo.data.synthetic.rule_molecules import RuleMolecules
    from zoo.data.synthetic.rules import RuleTable
    from zoo.data.synthetic.skin_conductance import SkinConductance
    from zoo.data.synthetic.sprites import Sprites
    from zoo.data.synthetic.stroke_digits import StrokeDigits
    from zoo.data.synthetic.switching_series import SwitchingSeries
    from zoo.data.synthetic.tables import SyntheticTable
    from zoo.data.synthetic.tagged_music import TaggedMusic
    from zoo.data.synthetic.toys import ConceptToy
else:

    def __getattr__(name: str) -> object:
        if name not in MODULES:
            raise AttributeError(f"module 'zoo.data' has no attribute '{name}'")
        return globals().setdefault(name, find(name))


__all__ = [
    "CUB",
    "SST2",
    "Adult",
    "AnnotatedControl",
    "AudioTable",
    "BA2Motifs",
    "BAShapes",
    "CEBaB",
    "CanvasDigits",
    "CodeData",
    "ConceptToy",
    "Control",
    "DataModule",
    "DecoyDigits",
    "DensityFields",
    "Digits",
    "EraserMovies",
    "ForcedArtefact",
    "Forecast",
    "GraphFiles",
    "ImageData",
    "ImageFolder",
    "ImageShards",
    "Infection",
    "LongSeriesTable",
    "MNISTAdd",
    "NetworkFiles",
    "NoisyPicture",
    "PartBirds",
    "PlantedCircuit",
    "PlantedSeries",
    "RuleMolecules",
    "RuleTable",
    "SPMotif",
    "SeriesArchive",
    "SeriesArrays",
    "SeriesTable",
    "SkinConductance",
    "SklearnTable",
    "SmilesTable",
    "Sprites",
    "StrokeDigits",
    "SwitchingPanels",
    "SwitchingSeries",
    "SyntheticTable",
    "Table",
    "TaggedMusic",
    "TextTable",
    "TorchGeometricData",
    "TorchvisionData",
    "TreeCycles",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *MODULES})
