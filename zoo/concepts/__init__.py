"""Concept bottlenecks: first what is there, by name, and then the answer from that alone."""

from zoo.concepts.cbm import CBM

__all__ = ["CBM"]
