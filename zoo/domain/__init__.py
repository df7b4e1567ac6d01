"""The meaning of a model's inputs and outputs: names, preprocessing, conversion of raw files to tensors and back.

A data module makes the domain; the model keeps it in its hyper-parameters as plain data, and so does a checkpoint. A
loaded model can read raw files and name its outputs without the data set.
"""

from zoo.domain.audio import AudioDomain
from zoo.domain.base import Domain
from zoo.domain.code import CodeDomain
from zoo.domain.columns import Column
from zoo.domain.graph import GraphDomain
from zoo.domain.image import ImageDomain, fault_of, open_image
from zoo.domain.piece_subset import seen_pieces
from zoo.domain.series import SeriesDomain
from zoo.domain.subwords import read_tokenizer
from zoo.domain.table import TableDomain
from zoo.domain.text import TextDomain

__all__ = [
    "AudioDomain",
    "CodeDomain",
    "Column",
    "Domain",
    "GraphDomain",
    "ImageDomain",
    "SeriesDomain",
    "TableDomain",
    "TextDomain",
    "fault_of",
    "open_image",
    "read_tokenizer",
    "seen_pieces",
]
