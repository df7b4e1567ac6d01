"""Runs the tutorials and writes a page for each, with its output and its pictures: `python docs/render_tutorials.py`.

A tutorial is a plain script, docs/tutorials/NAME.py, in percent format: a line `# %%` starts a cell of code,
`# %% [markdown]` a cell of text, written as comments. It leaves its pictures in NAME.png and NAME-*.png in the working
directory.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
SCRIPTS, PAGES = HERE / "tutorials", HERE / "pages" / "tutorials"
CELL = re.compile(r"^# %%( \[markdown\])?\n", re.MULTILINE)
OUTPUT = re.compile(r"```text\n.*?```\n\n", re.DOTALL)


class Cell(NamedTuple):
    """One cell of a script: Markdown, or Python code."""

    is_text: bool
    source: str


def main() -> int:
    """Renders the tutorials given by name, by default all; each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="such as images (default: all)")
    parser.add_argument("--output", type=Path, default=PAGES, help="folder of the pages (default: %(default)s)")
    options = parser.parse_args()
    for name in options.names or tutorials():
        pid = os.fork() if len(options.names) != 1 else 0  # so that none sees the seeds and modules of another
        if pid == 0:
            render(name, options.output)
            if len(options.names) != 1:
                os._exit(0)
        elif os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            return 1
    return 0


def tutorials() -> list[str]:
    """Names of the tutorials."""
    return sorted(path.stem for path in SCRIPTS.glob("*.py"))


def render(name: str, folder: Path) -> Path:
    """Runs one tutorial in an empty directory, and writes its page and its pictures to a folder."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    namespace: dict[str, object] = {"__name__": "__main__"}
    blocks = []
    with tempfile.TemporaryDirectory() as work, chdir(work):
        for cell in cells(name):
            blocks.append(_block(cell))
            if not cell.is_text:
                printed = StringIO()
                with redirect_stdout(printed):
                    exec(compile(cell.source, f"{name}.py", "exec"), namespace)
                if printed.getvalue().strip():
                    blocks.append(f"```text\n{printed.getvalue().rstrip()}\n```\n")
        for picture in Path().glob(f"{name}*.png"):
            shutil.copy(picture, folder)
    page = folder / f"{name}.md"
    page.write_text("\n".join(blocks), encoding="utf-8")
    print(f"{name} -> {page}", file=sys.stderr)
    return page


def cells(name: str) -> list[Cell]:
    """The cells of a tutorial."""
    _, *parts = CELL.split((SCRIPTS / f"{name}.py").read_text(encoding="utf-8"))
    found = []
    for mark, source in zip(parts[::2], parts[1::2], strict=True):
        text = re.sub(r"^# ?", "", source, flags=re.MULTILINE) if mark else source
        found.append(Cell(bool(mark), text.strip("\n") + "\n"))
    return found


def without_output(page: str) -> str:
    """A page without what the cells printed: what can be compared with the script."""
    return OUTPUT.sub("", page)


def expected(name: str) -> str:
    """The page of a tutorial, without output."""
    return "\n".join(_block(cell) for cell in cells(name))


def _block(cell: Cell) -> str:
    return cell.source if cell.is_text else f"```python\n{cell.source}```\n"


if __name__ == "__main__":
    sys.exit(main())
