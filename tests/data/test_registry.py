"""Public data modules: listed once, imported on first access."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import zoo.data
from zoo.data.registry import MODULES, find


def test_the_table_and_all_and_the_static_imports_agree() -> None:
    tree = ast.parse(Path(zoo.data.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    static = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert static == MODULES
    assert sorted(zoo.data.__all__) == sorted(MODULES)
    assert set(MODULES) <= set(dir(zoo.data))
    assert all(getattr(zoo.data, name).__name__ == name for name in MODULES)


def test_one_data_module_does_not_import_the_others() -> None:
    code = "import sys, zoo.data; zoo.data.ConceptToy; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = set(done.stdout.split()) & set(MODULES.values())
    assert found == {"zoo.data.base.module", "zoo.data.synthetic.toys"}


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match=r"module 'zoo\.data' has no attribute 'Cub'"):
        _ = zoo.data.Cub
    with pytest.raises(ValueError, match="no data module named 'Cub'; did you mean 'CUB'"):
        find("Cub")
