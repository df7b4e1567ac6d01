"""What benchmarks keep, so that an interrupted command resumes: trained runs, and the record of measurements."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.utils.atomic import write_text

HERE = Path(__file__).parent
ROOT = HERE.parent


class Record:
    """Measurements by key in NAME.json, and their page NAME.md.

    Args:
        name: of the two files, without their endings.
        page: makes the Markdown page of the measurements.
        order: sorts the measurements before they are written; by default, they stay in the order of measuring.
        folder: of the two files; benchmarks/ by default.

    Attributes:
        found: the measurements; at first those of the file, if there is one.
    """

    def __init__(
        self,
        name: str,
        page: Callable[[dict[str, Any]], str],
        order: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        folder: Path | None = None,
    ) -> None:
        self.file, self.page, self.order = (folder or HERE) / f"{name}.json", page, order
        self.found: dict[str, Any] = read(self.file) if self.file.is_file() else {}

    def keep(self, key: str, measure: Callable[..., Any], *arguments: Any) -> None:
        """Adds `measure(*arguments)` under a key that is not there yet, and writes both files."""
        if key not in self.found:
            self.found[key] = measure(*arguments)
            print(f"{key}: {self.found[key]}", flush=True)
            self.write()

    def write(self) -> None:
        """Writes the measurements and their page."""
        self.found = self.order(self.found)
        write_text(self.file, json.dumps(self.found, indent=1) + "\n")
        write_text(self.file.with_suffix(".md"), self.page(self.found))


def ordered(record: dict[str, Any], sets: Sequence[str], models: Sequence[str]) -> dict[str, Any]:
    """Measurements by "set, model, seed N", sorted in the order of these names."""

    def place(key: str) -> tuple[int, int, int]:
        name, model, seed = key.split(", ")
        return sets.index(name), models.index(model), int(seed.removeprefix("seed "))

    return {key: record[key] for key in sorted(record, key=place)}


def trained(folder: Path, config: str, seed: int, name: str, changes: Mapping[str, str] | None = None) -> Path:
    """The folder of a run, which `train.py fit` trains if it is missing; an interrupted training resumes.

    Args:
        folder: of the run.
        config: in configs/, without its ending.
        seed: of the training.
        name: printed at the start, and if the training fails.
        changes: values of options, by option without its hyphens.

    Raises:
        SystemExit: the training failed; with the end of what it printed.
    """
    if not (folder / "metrics.json").is_file():
        command = ["fit", "--config", f"configs/{config}.yaml", "--output", str(folder.resolve())]
        command += ["--ckpt_path", "last"] if (folder / "last.ckpt").is_file() else ["--overwrite", "true"]
        command += ["--seed_everything", str(seed), "--trainer.enable_progress_bar", "false"]
        call([*command, *(word for key, value in (changes or {}).items() for word in (f"--{key}", value))], name)
    return folder


def evaluated(folder: Path, metrics: Sequence[str], limit: int, name: str, regions: int = 0) -> dict[str, Any]:
    """The report of `train.py evaluate` on `limit` test rows of a run, which is made if it is missing.

    With `regions`, of explanations whose units are joined into so many regions.

    Raises:
        SystemExit: the command failed; with the end of what it printed.
    """
    report = folder / (f"faithfulness_{limit}_in_{regions}_regions" if regions else f"faithfulness_{limit}")
    if not (report / "faithfulness.json").is_file():
        command = ["evaluate", "--checkpoint", str(folder.resolve() / "checkpoint"), "--metrics", ",".join(metrics)]
        command += ["--regions", str(regions)] if regions else []
        call([*command, "--limit", str(limit), "--output", str(report.resolve())], name)
    return read(report / "faithfulness.json")


def call(arguments: Sequence[str], name: str) -> None:
    """Runs train.py in a process of one thread.

    Raises:
        SystemExit: it failed; with the end of what it printed.
    """
    print(f"{arguments[0]}: {name}", flush=True)
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")


def read(file: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(file.read_text(encoding="utf-8"))
