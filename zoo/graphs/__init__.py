"""Models of graphs: scores that are sums over nodes or over features, and gates on edges."""

from zoo.core.lazy import lazy_family

__getattr__, __dir__ = lazy_family(__name__)
