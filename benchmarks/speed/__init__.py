"""Speed benchmarks by section; each module's `cases(device)` yields what `benchmarks.harness` measures."""

from collections.abc import Callable, Iterator
from importlib import import_module

import torch

from benchmarks.harness import Case, Reading

SECTIONS = (
    "projection",
    "similarity",
    "trees",
    "correspondences",
    "concepts",
    "codes",
    "interventions",
    "parts",
    "selectors",
    "graphs",
    "sequences",
    "circuits",
    "families",
    "posthoc",
    "folders",
    "startup",
    "pipeline",
    "scaling",
    "distributed",
)
ON_GPU = ("projection", "similarity", "concepts", "circuits", "families", "posthoc", "pipeline")


def cases_of(section: str) -> Callable[[torch.device], Iterator[Case | Reading]]:
    """The cases of a section, by device."""
    return import_module(f"benchmarks.speed.{section}").cases
