"""What the inputs and outputs of a model mean: names, preprocessing, raw file to tensor and back.

A domain is made by a data module, kept in the model's hyper-parameters as plain data, and travels with the
checkpoint, so that a loaded model reads raw files and names its answers with no data set at hand.
"""

from zoo.domain.base import Domain
from zoo.domain.code import CodeDomain
from zoo.domain.image import ImageDomain, fault_of, open_image
from zoo.domain.series import SeriesDomain
from zoo.domain.subwords import read_tokenizer
from zoo.domain.table import TableDomain
from zoo.domain.text import TextDomain

__all__ = [
    "CodeDomain",
    "Domain",
    "ImageDomain",
    "SeriesDomain",
    "TableDomain",
    "TextDomain",
    "fault_of",
    "open_image",
    "read_tokenizer",
]
