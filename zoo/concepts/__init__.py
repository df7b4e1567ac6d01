"""Concept bottlenecks: first what is there, by name, and then the answer from that alone."""

from zoo.concepts.botcl import BotCL
from zoo.concepts.c3m import C3M
from zoo.concepts.cbm import CBM
from zoo.concepts.cem import CEM
from zoo.concepts.dcr import DCR
from zoo.concepts.intcem import IntCEM
from zoo.concepts.labelfree import LabelFreeCBM
from zoo.concepts.layers.image_text import OpenCLIP
from zoo.concepts.layers.projected import save_scores, score_concepts
from zoo.concepts.len import LEN
from zoo.concepts.posthoc import PostHocCBM
from zoo.concepts.probcbm import ProbCBM
from zoo.concepts.rrl import RRL

__all__ = [
    "C3M",
    "CBM",
    "CEM",
    "DCR",
    "LEN",
    "RRL",
    "BotCL",
    "IntCEM",
    "LabelFreeCBM",
    "OpenCLIP",
    "PostHocCBM",
    "ProbCBM",
    "save_scores",
    "score_concepts",
]
