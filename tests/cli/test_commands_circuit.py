"""`train.py circuit`: pages of circuits with and without contexts, of trained and of converted networks."""

from itertools import islice
from pathlib import Path

import pytest
import torch
import yaml

import zoo
from tests.circuits.conversion.published import CONFIG, weights
from zoo.circuits import Circuit, SparseTransformer, from_openai
from zoo.circuits.analysis.contexts import Contexts, contexts_path
from zoo.circuits.analysis.effects import measure_circuit
from zoo.circuits.network.edges import edges_between
from zoo.cli.circuit import token_pairs
from zoo.cli.circuit_files import circuits_of
from zoo.cli.main import main
from zoo.data import CodeData
from zoo.data.synthetic.code_tasks import find_task
from zoo.data.synthetic.idioms import documents


def some_circuit(model: SparseTransformer, name: str, pairs: int = 2) -> Circuit:
    """A random circuit of a task."""
    task = token_pairs(find_task(name), model.domain, pairs, "held_out", 0)
    mask = torch.rand(model.means.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    edges = edges_between(model.network, mask)
    return measure_circuit(model, name, task, task, mask, edges, edges.select(slice(0)), 0.15)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its config, and a circuit in its checkpoint."""
    run = tmp_path_factory.mktemp("run")
    (run / "code").mkdir()
    for i in range(6):
        (run / "code" / f"{i}.py").write_text("\n".join(islice(documents(f"file {i}"), 12)))
    data = {"root": str(run / "code"), "idioms": 0.0, "vocabulary": 400, "length": 20, "cache": str(run)}
    torch.manual_seed(0)
    model = zoo.create_model(
        "sparse_transformer",
        domain=CodeData(**data).domain,
        width=16,
        layers=1,
        head_width=8,
        sparsity={"density": 0.5},
    ).eval()
    config = {"model": {"class_path": "SparseTransformer"}, "data": {"class_path": "CodeData", "init_args": data}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    zoo.save(model, run / "checkpoint")
    (run / "checkpoint-circuits").mkdir()
    some_circuit(model, "single_double_quote").save(run / "checkpoint-circuits" / "single_double_quote")
    return run / "checkpoint"


def test_contexts_are_measured_and_stored(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = ["circuit", "--checkpoint", str(checkpoint), "--output", str(tmp_path)]
    assert main(command) == 0
    page = tmp_path / "single_double_quote.html"
    assert str(page) in capsys.readouterr().out and '"contexts": null' in page.read_text()
    assert main([*command, "--contexts", "--each", "2"]) == 0
    (file,) = circuits_of(checkpoint)
    contexts = Contexts.load(contexts_path(file))
    assert contexts.tokens.shape[:3] == (len(Circuit.load(file).nodes), 3, 2) and contexts.count > 500
    assert '"contexts": null' not in page.read_text()
    contexts_path(file).unlink()


def test_a_task_of_ones_own_has_no_losses(checkpoint: Path, tmp_path: Path) -> None:
    circuit = Circuit.load(circuits_of(checkpoint)[0])
    Circuit(**{**vars(circuit), "task": "mine"}).save(tmp_path / "mine")
    file = str(tmp_path / "mine.safetensors")
    assert main(["circuit", "--checkpoint", str(checkpoint), "--circuit", file, "--output", str(tmp_path)]) == 0
    assert '"held_out": null' in (tmp_path / "mine.html").read_text()


def test_a_converted_network_has_a_page(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Its corpus is unknown, so that it has no contexts."""
    config = {**CONFIG, "d_pos_emb": 5}
    model = from_openai({name: t.float() for name, t in weights(config).items()}, config)
    zoo.save(model, tmp_path / "released")
    mask = torch.rand(model.means.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    task = zoo.circuits.TokenPairTask(torch.tensor([[3, 4, 5], [6, 7, 8]]), torch.tensor([2, 3]), torch.tensor([3, 2]))
    edges = edges_between(model.network, mask)
    circuit = measure_circuit(model, "mine", task, task, mask, edges, edges.select(slice(0)), 0.15)
    circuit.save(tmp_path / "mine")
    command = ["circuit", "--checkpoint", str(tmp_path / "released"), "--circuit", str(tmp_path / "mine.safetensors")]
    assert main([*command, "--output", str(tmp_path)]) == 0
    assert '"kind": "words"' in (tmp_path / "mine.html").read_text()
    assert main([*command, "--output", str(tmp_path), "--contexts"]) == 2
    assert "the data of" in capsys.readouterr().err


def test_messages(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["circuit", "--checkpoint", "self-ablating-idioms"]) == 2
    assert "circuit requires a sparse_transformer" in capsys.readouterr().err
    model = zoo.load(checkpoint)
    zoo.save(model, tmp_path / "other")
    assert main(["circuit", "--checkpoint", str(tmp_path / "other")]) == 2
    assert "has no circuits; run `train.py prune --checkpoint" in capsys.readouterr().err
    circuit = Circuit.load(circuits_of(checkpoint)[0])
    Circuit(**{**vars(circuit), "layout": type(circuit.layout)(1, 32, 128)}).save(tmp_path / "wrong")
    wrong = ["--circuit", str(tmp_path / "wrong.safetensors"), "--output", str(tmp_path)]
    assert main(["circuit", "--checkpoint", str(checkpoint), *wrong]) == 2
    assert "belongs to a network of" in capsys.readouterr().err
