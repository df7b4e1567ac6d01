"""Prototype networks: the evidence is how much the input looks like learned, pictured cases."""

from zoo.prototypes.correspondence import Correspondence
from zoo.prototypes.kcc import KeypointCounting
from zoo.prototypes.pipnet import PIPNet
from zoo.prototypes.probpsenn import ProbPSENN
from zoo.prototypes.protopnet import ProtoPNet
from zoo.prototypes.protopool import ProtoPool
from zoo.prototypes.protosvit import ProtoSViT
from zoo.prototypes.prototree import ProtoTree

__all__ = [
    "Correspondence",
    "KeypointCounting",
    "PIPNet",
    "ProbPSENN",
    "ProtoPNet",
    "ProtoPool",
    "ProtoSViT",
    "ProtoTree",
]
