"""Policies: models that choose actions, whose scores are sums over conditions, features, prototypes or concepts."""

from zoo.core.lazy import lazy_family

__getattr__, __dir__ = lazy_family(__name__)
