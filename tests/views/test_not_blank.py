"""A screenshot of pages by a real browser: there is something to see, and not in one corner only."""

import shutil
import subprocess

import pytest
import torch
from PIL import Image

import zoo
from tests.small_models import SMALL
from tests.views.browser import FLAGS, NAMES
from zoo.cli.main import main

MODELS = ("protopnet", "prototree", "cbm", "sop", "sparse_transformer")
VIEWS = (("show", 1280), ("why", 1280), ("why", 500))
HEIGHT = 900
EMPTY = "<!doctype html><title>a</title><body style='background:#f3f5f7'><h1>a</h1></body>"


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, int], Image.Image]:
    """One screenshot of all pages in frames below each other, cut into one picture for each."""
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no browser found: install chromium")
    folder = tmp_path_factory.mktemp("pages")
    (folder / "empty.html").write_text(EMPTY)
    frames = {("empty", "empty", 1280): folder / "empty.html"}
    for name in MODELS:
        torch.manual_seed(0)
        model = SMALL[name]().model.eval()
        zoo.save(model, folder / name / "model")
        why, show = folder / name / "why.html", folder / name / "show.html"
        why.write_text(model.explain(model.domain.example(2, torch.Generator()))._repr_html_())
        assert main(["show", "--checkpoint", str(folder / name / "model"), "--output", str(show)]) == 0
        frames |= {(name, kind, width): folder / name / f"{kind}.html" for kind, width in VIEWS}
    style = "style='display:block;border:0'"
    inner = "".join(
        f"<iframe src='{page.as_uri()}' width='{width}' height='{HEIGHT}' {style}></iframe>"
        for (_, _, width), page in frames.items()
    )
    (folder / "all.html").write_text(f"<!doctype html><body style='margin:0'>{inner}</body>")
    file, size = folder / "all.png", f"--window-size=1280,{HEIGHT * len(frames)}"
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", size, "--hide-scrollbars"]
    command += ["--virtual-time-budget=4000", f"--screenshot={file}", (folder / "all.html").as_uri()]
    subprocess.run(command, capture_output=True, timeout=300, check=True)
    whole = Image.open(file).convert("L")
    boxes = {key: (0, HEIGHT * i, key[2], HEIGHT * (i + 1)) for i, key in enumerate(frames)}
    return {key: whole.crop(box) for key, box in boxes.items()}


def blank(picture: Image.Image) -> bool:
    """Whether most of the upper half is empty: of 8 x 8 parts of it, fewer than a third have any contrast."""
    shown = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(picture.height, picture.width)
    rows, columns = picture.height // 16, picture.width // 8
    parts = shown[: rows * 8, : columns * 8].float().unflatten(0, (8, rows)).unflatten(2, (8, columns))
    return bool(((parts.amax((1, 3)) - parts.amin((1, 3))) > 60).float().mean() < 1 / 3)


def test_an_empty_page_is_blank(screenshots: dict[tuple[str, str, int], Image.Image]) -> None:
    assert blank(screenshots["empty", "empty", 1280])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("kind", "width"), VIEWS)
def test_pages_are_not_blank(
    screenshots: dict[tuple[str, str, int], Image.Image], name: str, kind: str, width: int
) -> None:
    assert not blank(screenshots[name, kind, width])
