"""What `str(explanation)`, notebooks and `explanation.figure()` call; registered in `zoo/__init__.py`."""

from zoo.views.figure import figure
from zoo.views.html import fragment as html
from zoo.views.sentence import sentence
from zoo.views.text import table as text

__all__ = ["figure", "html", "sentence", "text"]
