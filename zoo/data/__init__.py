"""Data modules: each tells what its inputs and outputs mean (`domain`), and knows no model."""

from zoo.data.cub import CUB
from zoo.data.digits import Digits
from zoo.data.folder import ImageFolder
from zoo.data.module import ImageData
from zoo.data.torchvision import TorchvisionData

__all__ = ["CUB", "Digits", "ImageData", "ImageFolder", "TorchvisionData"]
