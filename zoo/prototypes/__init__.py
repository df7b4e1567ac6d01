"""Prototype networks: the evidence is how much the input looks like learned, pictured cases."""

from zoo.prototypes.correspondence import Correspondence
from zoo.prototypes.kcc import KeypointCounting
from zoo.prototypes.protopnet import ProtoPNet

__all__ = ["Correspondence", "KeypointCounting", "ProtoPNet"]
