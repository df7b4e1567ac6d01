"""Models whose units are the columns of a table and pairs of them; each has a curve that can be drawn and edited."""

from zoo.core.lazy import lazy_family

__getattr__, __dir__ = lazy_family(__name__, {"from_ebm": "layers.from_ebm", "to_ebm_json": "layers.to_ebm"})
