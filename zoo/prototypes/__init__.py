"""Prototype networks: the evidence is how much the input looks like learned, pictured cases."""

from zoo.prototypes.probpsenn import ProbPSENN
from zoo.prototypes.protopnet import ProtoPNet
from zoo.prototypes.prototree import ProtoTree

__all__ = ["ProbPSENN", "ProtoPNet", "ProtoTree"]
