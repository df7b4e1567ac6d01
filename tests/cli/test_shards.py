"""Commands that several processes share write what one process writes, byte by byte, also if one of them is killed."""

import os
import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torchvision.io import write_png

import zoo
from tests.cli.test_commands_circuit import some_circuit
from tests.launched import launch, torchrun_variables
from tests.small_code import code_domain
from tests.small_models import SMALL
from zoo.circuits import Circuit, SparseTransformer
from zoo.cli.explanation_log import ExplanationLog
from zoo.cli.main import main
from zoo.data import PartBirds
from zoo.data.synthetic.code_tasks import Task
from zoo.domain import ImageDomain
from zoo.metrics.faithfulness.suite import Measurement
from zoo.utils.shards import Shard


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint of a small model of images, and a folder of eleven pictures, of which the fifth is none."""
    folder = tmp_path_factory.mktemp("shared")
    torch.manual_seed(0)
    small = SMALL["protopnet"]()
    domain = small.model.domain
    assert isinstance(domain, ImageDomain)
    zoo.save(small.model.eval(), folder / "model")
    (folder / "pictures").mkdir()
    for i in range(11):
        picture = torch.randint(0, 256, (domain.channels, *domain.size), dtype=torch.uint8)
        write_png(picture, str(folder / "pictures" / f"{i:02}.png"))
    (folder / "pictures" / "04.png").write_text("no picture")
    return folder / "model", folder / "pictures"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def explain(saved: tuple[Path, Path], out: Path, *more: str) -> list[str]:
    inputs = ["--input", str(saved[1])]
    return ["explain", "--checkpoint", str(saved[0]), *inputs, "--output", str(out), "--pages", "5", *more]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.cli.explain.BATCH", 2)


def die_in_second_batch(rank: int) -> None:
    """Kills process 1 while it writes a line of its second batch."""
    whole, count = ExplanationLog.write, [0]

    def write(self: ExplanationLog, records: Iterable[dict[str, Any]]) -> None:
        whole(self, records)
        count[0] += 1
        if count[0] == 2:
            with self.path.open("rb+") as file:
                file.truncate(self.path.stat().st_size - 50)
            os.kill(os.getpid(), signal.SIGKILL)

    if rank == 1:
        ExplanationLog.write = write


@pytest.mark.usefixtures("small_batches")
def test_explanations(saved: tuple[Path, Path], tmp_path: Path) -> None:
    one, two, said = tmp_path / "one", tmp_path / "two", tmp_path / "said"
    assert main(explain(saved, one)) == 1  # one picture cannot be read
    assert sorted(launch(explain(saved, two), said)) == [0, 1]  # the last to finish says so
    assert contents(two) == contents(one) and (one / "explanations.jsonl").read_bytes().count(b"\n") == 10
    told = said.read_text()
    assert told.count("1 of 11 inputs could not be explained") == 1 and "10 inputs in" in told
    (saved[1] / "new.png").write_bytes((saved[1] / "03.png").read_bytes())
    said.unlink()
    assert sorted(launch(explain(saved, two), said, world=3)) == [0, 0, 1] and "1 inputs in" not in said.read_text()
    assert "10 of 12 inputs are explained already" in said.read_text()
    assert main(explain(saved, one)) == 1 and contents(two) == contents(one)
    (saved[1] / "new.png").unlink()


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_process_that_is_killed_loses_its_batch(
    saved: tuple[Path, Path], tmp_path: Path, world: int, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, said = tmp_path / "one", tmp_path / "two", tmp_path / "said"
    assert main(explain(saved, one)) == 1
    assert launch(explain(saved, two), said, before=die_in_second_batch) == [0, -signal.SIGKILL]
    assert not (two / "explanations.jsonl").exists() and len(list(two.glob(".*-of-2"))) == 2
    said.unlink()
    capsys.readouterr()
    if world == 1:
        assert main(explain(saved, two)) == 1
        # Batches of two inputs: 0 2 4 were done by process 0, but for the unreadable one, and 1 by process 1.
        assert "7 of 11 inputs are explained already" in capsys.readouterr().out
    else:
        assert sorted(launch(explain(saved, two), said, world)) == [0] * (world - 1) + [1]
        # The first process may count what another has explained just now, so at least these.
        known = re.search(r"(\d+) of 11 inputs are explained already", said.read_text())
        assert known and 7 <= int(known[1]) <= 10
    assert contents(two) == contents(one)


def test_the_sources_of_units(saved: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    domain = replace(zoo.load(saved[0]).domain, concepts=("red", "round"))
    zoo.save(zoo.create_model("cbm", domain=domain, backbone={"name": "convnet", "widths": [4]}), tmp_path / "model")
    monkeypatch.setattr("zoo.core.top_activating.BLOCK", 4)
    show = ["show", "--checkpoint", str(tmp_path / "model"), "--images", str(saved[1]), "--output"]
    assert main([*show, str(tmp_path / "one" / "page.html")]) == 0
    assert launch([*show, str(tmp_path / "two" / "page.html")], tmp_path / "said") == [0, 0]
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert (tmp_path / "said").read_text().count("units ->") == 1


def test_faithfulness(tmp_path: Path) -> None:
    options = {"side": 32, "classes": 4, "count": 16, "val_count": 4, "test_count": 9, "background": 3, "batch_size": 2}
    torch.manual_seed(0)
    shape = {"widths": [8, 8], "depths": [1, 1], "strides": [2, 2], "wide": 2}
    model = zoo.create_model("bagnet", domain=PartBirds(**options).domain, **shape)
    zoo.save(model.eval(), tmp_path / "run" / "checkpoint")
    config = {"data": {"class_path": "PartBirds", "init_args": options}}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    evaluate = ["evaluate", "--checkpoint", str(tmp_path / "run" / "checkpoint"), "--device", "cpu", "--limit", "7"]
    evaluate += ["--metrics", "M1,M3,M6,M7,M9", "--output"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([*evaluate, str(one)]) == 0
    of_batch = Measurement.of_batch

    def killed(self: Measurement, batch: Mapping[str, Any]) -> dict[str, Any]:
        if int(batch["ids"][0]) > 2:  # a later batch of process 1
            os.kill(os.getpid(), signal.SIGKILL)
        return of_batch(self, batch)

    def kill(rank: int) -> None:
        if rank == 1:
            Measurement.of_batch = killed

    assert launch([*evaluate, str(two)], tmp_path / "said", before=kill) == [0, -signal.SIGKILL]
    assert not (two / "faithfulness.json").exists() and len(list(two.iterdir())) == 2  # the parts
    assert launch([*evaluate, str(two)], tmp_path / "said") == [0, 0]
    assert contents(two) == contents(one) and len(contents(one)) == 3


def test_circuits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    size = {"width": 16, "layers": 1, "head_width": 8, "sparsity": {"density": 0.5}}
    zoo.save(zoo.create_model("sparse_transformer", domain=code_domain(20, 400), **size).eval(), tmp_path / "model")
    calls = tmp_path / "calls"

    def some(model: SparseTransformer, task: Task, *arguments: object, **options: object) -> Circuit:
        with calls.open("a") as file:
            file.write(f"{task.name}\n")
        if task.name == "for_while":
            raise RuntimeError("not solved")
        if task.name == "with_as" and "KILL" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        return some_circuit(model, task.name)

    monkeypatch.setattr("zoo.cli.prune.search", some)
    names = ["class_init", "with_as", "for_while"]
    prune = ["prune", "--checkpoint", str(tmp_path / "model"), "--no-controls", "--task", *names, "--output"]
    one, two, said = tmp_path / "one", tmp_path / "two", tmp_path / "said"
    assert main([*prune, str(one)]) == 1
    kill = lambda rank: os.environ.update(KILL="1")  # noqa: E731 (in the forks alone)
    assert launch([*prune, str(two)], said, before=kill) == [0, -signal.SIGKILL]
    calls.unlink()
    assert sorted(launch([*prune, str(two)], said)) == [0, 1] and "2 of 3 tasks are done already" in said.read_text()
    assert calls.read_text().split() == ["with_as"]
    assert contents(two) == contents(one) and len(contents(one)) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "models"], "list runs in one process, and here are 2 (WORLD_SIZE)"),
        (["show", "--checkpoint", "protopnet-mnist"], "show draws one page"),
        (["evaluate", "--checkpoint", "protopnet-mnist", "--sparsity", "5"], "--sparsity fits a model or follows"),
    ],
)
def test_refusals(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for name, value in torchrun_variables(0, 2, 1).items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 2 and message in capsys.readouterr().err


def test_variables_that_torchrun_did_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ValueError, match="WORLD_SIZE must be a positive integer; got 'two'"):
        Shard.of_environment()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="WORLD_SIZE is 2, but torchrun, which lets"):
        Shard.of_environment()
    for name, value in torchrun_variables(5, 2, 1).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="RANK must be a number from 0 to 1; got '5'"):
        Shard.of_environment()
