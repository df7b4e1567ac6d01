"""Removal-consistent training: a part of the input is replaced, and the contributions must foresee what that does."""

from zoo.training.removal.options import Removal
from zoo.training.removal.term import RemovalTerm

__all__ = ["Removal", "RemovalTerm"]
