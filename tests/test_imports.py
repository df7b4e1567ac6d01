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
FAMILIES = ("additive", "prototypes", "concepts", "parts", "circuits", "selectors", "graphs", "sequences", "policies")
BELOW_CORE = {"utils", "domain", "networks", "data", "training"}
ALLOWED = {  # what a package may import besides itself, in function bodies too
    "utils": set(),
    "domain": {"utils"},
    "networks": {"utils", "domain"},
    "data": {"utils", "domain"},
    "training": {"utils", "domain", "networks", "data"},
    "core": {"utils", "domain", "networks", "training"},
    **{family: {"utils", "domain", "networks", "training", "core"} for family in FAMILIES},
    "interventions": {"utils", "domain", "networks", "training", "core", *FAMILIES},
    **{package: {*BELOW_CORE, "core"} for package in ("metrics", "views", "checkpoints")},
    "audit": {*BELOW_CORE, "core", "checkpoints"},
    "conversion": {*BELOW_CORE, "core", "metrics", "views", "checkpoints"},
    "serving": {*BELOW_CORE, "core", "views"},
    "api": {*BELOW_CORE, "core", "metrics", "views", "checkpoints", "interventions", "conversion", "audit", *FAMILIES},
    "sklearn": {*BELOW_CORE, "core"},
    "cli": {
        *BELOW_CORE,
        "core",
        "metrics",
        "views",
        "checkpoints",
        "interventions",
        "conversion",
        "audit",
        "serving",
        "api",
        *FAMILIES,
    },
}


def for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imported(path: Path) -> set[str]:
    """The modules of zoo that a file imports, at top level or within a function."""
    found: set[str] = set()
    rest: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while rest:
        node = rest.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from package import module` needs the module; the package's own file only if a name of it is asked for.
            found |= names & set(MODULES) or {node.module}
        rest += [] if for_type_checkers(node) else list(ast.iter_child_nodes(node))
    return {name for name in found if name in MODULES}


GRAPH = {name: imported(path) - {name} for name, path in MODULES.items()}


def test_no_circles() -> None:
    """Imports within function bodies count: they only hide a circle."""
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"import circle: {' -> '.join([*above, name])}"
        if name not in done:
            for needed in GRAPH[name]:
                if needed != "zoo" and not name.startswith(needed + "."):
                    visit(needed, (*above, name))
            done.add(name)

    for name in GRAPH:
        visit(name, ())


def test_every_package_has_its_place() -> None:
    folders = {path.name for path in (ROOT / "zoo").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders | {"api", "sklearn"} == set(ALLOWED)
    loose = {path.name for path in (ROOT / "zoo").glob("*.py")}
    assert loose == {"__init__.py", "api.py", "sklearn.py"}  # what users import


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_one_way(package: str) -> None:
    may = ALLOWED[package] | {package}
    for name, needs in GRAPH.items():
        if name.split(".")[1:2] == [package]:
            wrong = {need for need in needs if need != "zoo" and need.split(".")[1] not in may}
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
    found = loaded("import zoo; zoo.load; zoo.list_models()")
    assert {"zoo.api", "zoo.prototypes"} <= found and "zoo.prototypes.protopnet" not in found


def test_a_model_loads_no_data_set_and_no_other_family() -> None:
    found = loaded(
        "import zoo; m = zoo.load('protopnet-mnist'); m.explain(m.domain.example(2, __import__('torch').Generator()))"
    )
    wrong = [n for n in found if n.startswith(("zoo.data", "zoo.concepts.", "zoo.parts.", "zoo.circuits.", "zoo.cli"))]
    assert "zoo.prototypes.protopnet" in found and not wrong, wrong


def test_zoo_offers_what_api_lists() -> None:
    assert set(api.__all__) <= set(dir(zoo))
    assert all(getattr(zoo, name) is getattr(api, name) for name in api.__all__)
    for name in ("lode", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"module 'zoo' has no attribute '{name}'"):
            getattr(zoo, name)


def test_no_file_imports_an_encoders_library_at_top_level() -> None:
    """They take seconds to load. Imports are read, because torchmetrics loads them too where they are installed."""
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
