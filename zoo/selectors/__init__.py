"""Models that first choose which elements of an input they read, and predict from those alone."""

from zoo.core.lazy import lazy_family

__getattr__, __dir__ = lazy_family(__name__)
