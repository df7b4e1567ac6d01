"""Screenshots of pages by a real browser: there is something to see, and not in one corner only."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image

import zoo
from tests.small_models import SMALL
from tests.views.browser import FLAGS, NAMES
from zoo.cli.main import main

SEEN = ("protopnet", "prototree", "cbm", "sop", "sparse_transformer")


def screenshot(page: Path, width: int, folder: Path) -> Image.Image:
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no browser at hand: install chromium")
    file = folder / f"{width}.png"
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900"]
    command += ["--hide-scrollbars", "--virtual-time-budget=2000", f"--screenshot={file}", page.as_uri()]
    subprocess.run(command, capture_output=True, timeout=180, check=True)
    return Image.open(file).convert("L")


def blank(picture: Image.Image) -> bool:
    """Whether most of the upper half is empty: of 8 x 8 parts of it, fewer than a third have any contrast."""
    shown = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(picture.height, picture.width)
    rows, columns = picture.height // 16, picture.width // 8
    parts = shown[: rows * 8, : columns * 8].float().unflatten(0, (8, rows)).unflatten(2, (8, columns))
    return bool(((parts.amax((1, 3)) - parts.amin((1, 3))) > 60).float().mean() < 1 / 3)


def test_an_empty_page_is_blank(tmp_path: Path) -> None:
    page = tmp_path / "empty.html"
    page.write_text("<!doctype html><title>a</title><body style='background:#f3f5f7'><h1>a</h1></body>")
    assert blank(screenshot(page, 1280, tmp_path))


@pytest.mark.parametrize("name", SEEN)
def test_pages_are_not_blank(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = SMALL[name]()
    model = small.model.eval()
    zoo.save(model, tmp_path / "model")
    arguments = ["--checkpoint", str(tmp_path / "model"), "--output", str(tmp_path / "show.html")]
    assert main(["show", *arguments]) == 0
    (tmp_path / "why.html").write_text(model.explain(model.domain.example(2, torch.Generator()))._repr_html_())
    for page, width in (("show.html", 1280), ("why.html", 1280), ("why.html", 500)):
        assert not blank(screenshot(tmp_path / page, width, tmp_path)), (page, width)
