"""Prototype networks: the evidence is how much the input looks like learned, pictured cases."""

from zoo.core.lazy import lazy_family

__getattr__, __dir__ = lazy_family(__name__)
