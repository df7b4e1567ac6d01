"""Models of sequences (series, texts and audio): scores that are sums over steps, patches, codes or motifs."""

from zoo.core.lazy import lazy_family

__getattr__, __dir__ = lazy_family(__name__)
