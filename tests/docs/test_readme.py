"""Every command, config and line of Python in README.md runs, on small generated data.

Blocks marked `sh ci` are run by .ci/run as they stand. Here the others are run with a small backbone, small data and
one epoch for each stage.
"""

import csv
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import zoo
from tests.docs.short_recipes import shorten_recipes
from zoo.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
SMALLER = {
    "{name: resnet34, pretrained: true}": "{name: convnet, widths: [8, 8]}",
    "root: birds,": "root: birds, size: [32, 32],",
    "windows: 2000": "windows: 32",
}
ELSEWHERE = {"python train.py check"}  # .ci/run checks the checkpoints of the installed package

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's data and configs in the working directory, and recipes with short stages."""
    shorten_recipes(monkeypatch)
    monkeypatch.chdir(tmp_path)
    make_data(tmp_path)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "digit.png", tmp_path / "docs")
    for config in (text for kind, text in BLOCKS if kind == "yaml"):
        name = config.split("\n", 1)[0].removeprefix("# ")
        for old, new in SMALLER.items():
            config = config.replace(old, new)
        (tmp_path / name).write_text(config)


def make_data(folder: Path) -> None:
    """What the README's configs read."""
    generator = torch.Generator().manual_seed(0)
    noise = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    concepts = []
    for label, level in (("cardinal", 60), ("jay", 160)):
        (folder / "birds" / label).mkdir(parents=True)
        for i in range(1, 21):
            pixels = (noise(32, 32, 3) * 60 + level).to(torch.uint8).numpy()
            Image.fromarray(pixels).save(folder / "birds" / label / f"{i}.jpg")
            concepts.append((f"{label}/{i}.jpg", int(level > 100), i % 2))
    write(folder / "concepts.csv", ("path", "bright", "odd"), concepts)
    write(folder / "table.csv", ("height", "width", "label"), [(i, i % 7, "ab"[i % 2]) for i in range(40)])
    texts = [(f"a {'warm and funny' if i % 2 else 'cold and dull'} film", "np"[i % 2]) for i in range(40)]
    write(folder / "texts.csv", ("text", "label"), texts)
    (folder / "series").mkdir()
    for split in ("train", "test"):
        save_file(
            {"input": noise(20, 120, 2), "target": torch.arange(20) % 2}, folder / "series" / f"{split}.safetensors"
        )
    (folder / "src").mkdir()
    for i in range(6):
        lines = [f"def f{n}(a, b):\n    return a + {n} * b\n" for n in range(60)]
        (folder / "src" / f"m{i}.py").write_text("\n\n".join(lines))


def write(path: Path, header: tuple[str, ...], rows: list[tuple]) -> None:
    with path.open("w", newline="") as opened:
        csv.writer(opened).writerows([header, *rows])


def test_commands() -> None:
    commands = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    assert all(line.startswith("python train.py ") for line in commands), "teach this test how to run it"
    for line in commands:
        if line not in ELSEWHERE:
            assert main(shlex.split(line)[2:]) == 0, line
    for name in ("birds", "concepts", "table", "texts", "series", "code"):
        assert (Path("runs") / name / "metrics.json").is_file()
    assert zoo.load("runs/fewer")


def test_python() -> None:
    (code,) = [text for kind, text in BLOCKS if kind == "python"]
    exec(compile(code, "README.md", "exec"), {})


def test_length_and_links() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / target).exists(), target
