"""The hook through which explanations find their views."""

import ast
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.core.test_explanation import example
from zoo.core import renderer


def test_explanations_find_the_registered_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ModuleType("own_renderer")
    for name in ("text", "html", "figure"):
        own_view = lambda explanation, top=8, curves=(), name=name: f"{name} of {len(explanation)} rows, top {top}"  # noqa: E731
        setattr(own, name, own_view)
    monkeypatch.setitem(sys.modules, "own_renderer", own)
    monkeypatch.setattr(renderer, "_registered", [])
    renderer.set_renderer("zoo.views.renderer")
    renderer.set_renderer("own_renderer")
    assert str(example()) == "text of 2 rows, top 8" and example()._repr_html_() == "html of 2 rows, top 8"
    assert example().figure(top=3) == "figure of 2 rows, top 3"


def test_no_renderer_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderer, "_registered", [])
    with pytest.raises(RuntimeError, match=r"no renderer is registered.*set_renderer\('zoo.views.renderer'\)"):
        str(example())


def test_importing_any_part_of_the_library_registers_the_views() -> None:
    """`zoo/__init__.py` does it, so that `from zoo.prototypes import ProtoPNet` is enough."""
    assert renderer._registered == ["zoo.views.renderer"]
    assert "crow" in str(example()) and "crow" in example()._repr_html_()


def test_core_imports_no_view_anywhere_in_a_file() -> None:
    for path in Path(renderer.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("zoo.views"), path
