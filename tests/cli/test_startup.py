"""What a command imports: no torch where it is not needed, and no other family than that of the model."""

import subprocess
import sys
from pathlib import Path

import torch
from torchvision.io import write_png

from zoo.cli.list import LISTS

ROOT = Path(__file__).resolve().parents[2]


def loaded(*commands: list[str]) -> set[str]:
    """The modules that a fresh Python has imported after running some commands."""
    runs = "; ".join(f"main({command})" for command in commands)
    code = f"import sys; from zoo.cli.main import main; {runs}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_and_lists_do_not_import_torch() -> None:
    helps = (["--help"], ["fit", "--help"], ["test", "--help", "trainer"])
    found = loaded(
        *helps, ["--version"], ["fitt"], *(["list", what] for what in LISTS if what not in ("tasks", "weights"))
    )
    assert "zoo.cli.list" in found and not found & {"torch", "numpy", "lightning", "timm", "jsonargparse", "zoo.api"}


def test_explain_imports_no_data_module_and_no_other_family(tmp_path: Path) -> None:
    write_png(torch.zeros(1, 28, 28, dtype=torch.uint8), str(tmp_path / "x.png"))
    given = ["--input", str(tmp_path / "x.png"), "--output", str(tmp_path / "out")]
    found = loaded(["explain", "--checkpoint", "protopnet-mnist", *given])
    assert "zoo.prototypes.protopnet" in found and (tmp_path / "out" / "x.html").is_file()
    others = ("zoo.data", "zoo.concepts", "zoo.parts", "zoo.circuits", "zoo.interventions", "zoo.metrics.concepts")
    assert not {name for name in found if name.startswith(others)}
