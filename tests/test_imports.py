"""Imports point one way, and `import zoo` stays light."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import zoo
from zoo import api

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "zoo").rglob("*.py")
}
FAMILIES = tuple(f"zoo.{name}" for name in ("prototypes", "concepts", "parts", "circuits"))


def imported(path: Path) -> set[str]:
    """The modules of zoo that a file imports at top level."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in found if name in MODULES}


GRAPH = {name: imported(path) - {name} for name, path in MODULES.items()}


def test_no_circles() -> None:
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"import circle: {' -> '.join([*above, name])}"
        if name not in done:
            for needed in GRAPH[name]:
                # A module names its package when it imports a sibling; the package is not what it needs.
                if needed != "zoo" and not name.startswith(needed + "."):
                    visit(needed, (*above, name))
            done.add(name)

    for name in GRAPH:
        visit(name, ())


@pytest.mark.parametrize(
    ("who", "never"),
    [
        (
            ("zoo.utils.errors", "zoo.training.stages", "zoo.utils.functional"),
            ("zoo.core.module", "zoo.training.staged_module", "zoo.domain", *FAMILIES),
        ),
        (
            ("zoo.core.registry",),
            tuple(name for name in MODULES if name not in ("zoo", "zoo.utils.errors", "zoo.core.registry")),
        ),
        (
            ("zoo.core.explanation", "zoo.core.evidence", "zoo.domain"),
            ("zoo.core.module", "zoo.training.staged_module", "zoo.data", *FAMILIES),
        ),
        (
            (*FAMILIES, "zoo.core.module", "zoo.training.staged_module", "zoo.training.black_box"),
            (
                "zoo.views",
                "zoo.metrics",
                "zoo.cli.main",
                "zoo.data",
                "zoo.cli.fit",
                "zoo.cli.explain",
                "zoo.checkpoints.checkpoint",
            ),
        ),
        (
            ("zoo.data",),
            ("zoo.core.module", "zoo.training.staged_module", "zoo.training.black_box", "zoo.views", *FAMILIES),
        ),
        (
            ("zoo.views", "zoo.metrics"),
            ("zoo.core.module", "zoo.training.staged_module", "zoo.data", "zoo.training.black_box", *FAMILIES),
        ),
    ],
)
def test_imports_point_one_way(who: tuple[str, ...], never: tuple[str, ...]) -> None:
    for name, needs in GRAPH.items():
        if any(name == w or name.startswith(w + ".") for w in who):
            wrong = {n for n in needs if any(n == x or n.startswith(x + ".") for x in never)}
            assert not wrong, f"{name} imports {wrong}"


def loaded(code: str) -> set[str]:
    """What a fresh Python has imported after running some code."""
    code = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_import_zoo_is_light() -> None:
    """Only the command line needs jsonargparse, only the comparison with post-hoc methods captum, and so on."""
    assert not loaded("from zoo import *") & {"jsonargparse", "captum", "open_clip", "sklearn"}


@pytest.mark.parametrize("arguments", [["--help"], ["list", "checkpoints"], ["list", "configs"], ["fitt"]])
def test_what_needs_no_torch_does_not_wait_for_it(arguments: list[str]) -> None:
    found = loaded(f"from zoo.cli.main import main; main({arguments})")
    assert "zoo.cli.main" in found and not found & {"torch", "lightning", "timm", "zoo.api"}


def test_names_are_imported_when_they_are_asked_for() -> None:
    assert not loaded("import zoo") & {"torch", "zoo.api"}
    assert {"zoo.api", "zoo.prototypes"} <= loaded("import zoo; zoo.load")
    assert "zoo.api" not in loaded("import zoo; zoo.training.stages.Stage")
    assert {"zoo.api", "zoo.circuits"} <= loaded("from zoo import registry; registry.find('protopnet')")


def test_zoo_offers_what_api_lists() -> None:
    assert set(api.__all__) <= set(dir(zoo))
    assert all(getattr(zoo, name) is getattr(api, name) for name in api.__all__)
    for name in ("lode", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"module 'zoo' has no attribute '{name}'"):
            getattr(zoo, name)


def test_no_file_imports_an_encoders_library_at_top_level() -> None:
    """They are optional; that they are among the loaded modules tells nothing, since torchmetrics looks for them."""
    for path in MODULES.values():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {name.split(".")[0] for name in names} & {"transformers", "tokenizers", "open_clip"}, path


def test_no_file_imports_matplotlib_at_top_level() -> None:
    for path in MODULES.values():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.startswith("matplotlib") for name in names), path


def test_the_wheel_holds_every_package() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "zoo").rglob("__init__.py")}
    assert set(told) == found | {"zoo._checkpoints"}
