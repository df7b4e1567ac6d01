"""Data modules: each tells what its inputs and outputs mean (`domain`), and knows no model."""

from zoo.data.artefacts import ForcedArtefact
from zoo.data.canvas import CanvasDigits
from zoo.data.code import CodeData
from zoo.data.cub import CUB
from zoo.data.decoys import DecoyDigits
from zoo.data.digits import Digits
from zoo.data.fields import DensityFields
from zoo.data.folder import ImageFolder
from zoo.data.images import ImageData
from zoo.data.mnist_add import MNISTAdd
from zoo.data.module import DataModule
from zoo.data.panels import SwitchingPanels
from zoo.data.part_birds import PartBirds
from zoo.data.planted_circuit import PlantedCircuit
from zoo.data.planted_series import PlantedSeries
from zoo.data.rules import RuleTable
from zoo.data.sentiment import SST2, EraserMovies
from zoo.data.series import SeriesArchive
from zoo.data.series_arrays import SeriesArrays
from zoo.data.sprites import Sprites
from zoo.data.stroke_digits import StrokeDigits
from zoo.data.switching_series import SwitchingSeries
from zoo.data.synthetic import SyntheticTable
from zoo.data.text import CEBaB, TextTable
from zoo.data.torchvision import TorchvisionData
from zoo.data.toys import ConceptToy

__all__ = [
    "CUB",
    "SST2",
    "CEBaB",
    "CanvasDigits",
    "CodeData",
    "ConceptToy",
    "DataModule",
    "DecoyDigits",
    "DensityFields",
    "Digits",
    "EraserMovies",
    "ForcedArtefact",
    "ImageData",
    "ImageFolder",
    "MNISTAdd",
    "PartBirds",
    "PlantedCircuit",
    "PlantedSeries",
    "RuleTable",
    "SeriesArchive",
    "SeriesArrays",
    "Sprites",
    "StrokeDigits",
    "SwitchingPanels",
    "SwitchingSeries",
    "SyntheticTable",
    "TextTable",
    "TorchvisionData",
]
