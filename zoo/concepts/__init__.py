"""Concept bottlenecks: first what is there, by name, and then the answer from that alone."""

from zoo.concepts.botcl import BotCL
from zoo.concepts.cbm import CBM
from zoo.concepts.cem import CEM
from zoo.concepts.intcem import IntCEM
from zoo.concepts.probcbm import ProbCBM

__all__ = ["CBM", "CEM", "BotCL", "IntCEM", "ProbCBM"]
