"""Models whose units are parts of the input: groups of elements, patches, features."""

from zoo.core.lazy import lazy_family

__getattr__, __dir__ = lazy_family(__name__, {"from_bagnet": "layers.published_bagnet"})
