"""Paths of a GPT-2 of Hugging Face, small and made on the spot."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.subwords import transformers
from zoo.circuits import CorruptedTask, Gpt2Graph, load_gpt2, needed_paths, score_paths
from zoo.circuits.analysis.path_attribution import connected, faithfulness
from zoo.cli.main import main
from zoo.data.synthetic.english_prompts import TASKS, english_prompts


def tokenizer() -> Any:
    """A tokenizer like that of GPT-2, trained on the prompts."""
    library = pytest.importorskip("tokenizers")
    draws = [make(random.Random(i)) for make in TASKS.values() for i in range(60)]
    texts = [draw.prompt + draw.right for draw in draws]
    made = library.Tokenizer(library.models.BPE())
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts, library.trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    )
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 with random weights and its tokenizer."""
    library, made = transformers(), tokenizer()
    torch.manual_seed(0)
    config = library.GPT2Config(
        vocab_size=made.get_vocab_size(), n_positions=64, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3
    )
    path = tmp_path_factory.mktemp("gpt2")
    library.GPT2LMHeadModel(config).save_pretrained(path)
    made.save(str(path / "tokenizer.json"))
    return path


@pytest.fixture(scope="module")
def loaded(folder: Path) -> tuple[Gpt2Graph, CorruptedTask]:
    graph, subwords = load_gpt2(folder)
    return graph, CorruptedTask(*english_prompts("ioi", subwords.encode, 6))


def test_the_graph_computes_the_network(loaded: tuple[Gpt2Graph, CorruptedTask]) -> None:
    graph, prompts = loaded
    run = graph.run(graph.embed(prompts.tokens), prompts.last)
    expected = graph.model(prompts.tokens).logits[torch.arange(6), prompts.last]
    torch.testing.assert_close(run.logits, expected, rtol=1e-4, atol=1e-4)
    assert len(run.written) == len(graph.sources) == 7 and graph.exist.shape == (7, 15)
    assert int(graph.exist.sum()) == 6 * 1 + 3 + 6 * 4 + 6 + 7


def test_without_paths_the_network_sees_the_corrupted_prompt(loaded: tuple[Gpt2Graph, CorruptedTask]) -> None:
    graph, prompts = loaded
    there = graph.run(graph.embed(prompts.corrupted), prompts.last)
    none = torch.zeros_like(graph.exist)
    run = graph.run(graph.embed(prompts.tokens), prompts.last, none, there.written)
    torch.testing.assert_close(run.logits, there.logits, rtol=1e-4, atol=1e-4)
    everything = graph.run(graph.embed(prompts.tokens), prompts.last, graph.exist, there.written).logits
    torch.testing.assert_close(everything, graph.run(graph.embed(prompts.tokens), prompts.last).logits)


def test_scores_are_slopes(loaded: tuple[Gpt2Graph, CorruptedTask]) -> None:
    """With one step, the gradient is that at the prompt: a small share of the corrupted value moves the answer so."""
    graph, prompts = loaded
    scores = score_paths(graph, prompts, steps=1)
    here = graph.run(graph.embed(prompts.tokens), prompts.last).written
    there = graph.run(graph.embed(prompts.corrupted), prompts.last).written
    share = 1e-2
    others = [h + share * (t - h) for h, t in zip(here, there, strict=True)]
    for name, reader in (
        ("embedding", "layer 0 head 1 value"),
        ("layer 0 MLP", "layer 1 MLP"),
        ("layer 1 MLP", "logits"),
    ):
        s, d = graph.sources.index(name), graph.destinations.index(reader)
        kept = graph.exist.clone()
        kept[s, d] = False
        logits = graph.run(graph.embed(prompts.tokens), prompts.last, kept, others).logits
        rows = torch.arange(6)
        moved = float((logits[rows, prompts.right] - logits[rows, prompts.wrong]).mean())
        assert (scores.clean - moved) / share == pytest.approx(float(scores.effect[s, d]), rel=0.05, abs=2e-3)
    assert not scores.effect[~graph.exist].any()


def test_needed_paths(loaded: tuple[Gpt2Graph, CorruptedTask]) -> None:
    graph, prompts = loaded
    scores = score_paths(graph, prompts)
    if scores.clean <= scores.corrupted:  # an untrained network prefers some answer; let it be the right one
        with pytest.raises(ValueError, match="does not solve the task"):
            needed_paths(scores, prompts)
        prompts = prompts._replace(right=prompts.wrong, wrong=prompts.right)
        scores = score_paths(graph, prompts)
    paths = needed_paths(scores, prompts, 0.7)
    target = scores.corrupted + 0.7 * (scores.clean - scores.corrupted)
    assert paths.metric >= target - 1e-4 and 0 < len(paths.paths) <= int(graph.exist.sum())
    assert paths.metric == pytest.approx(faithfulness(graph, prompts, paths.kept))
    assert torch.equal(connected(graph, paths.kept), paths.kept)


def test_dead_ends_are_left_out(loaded: tuple[Gpt2Graph, CorruptedTask]) -> None:
    graph, _ = loaded
    kept = torch.zeros_like(graph.exist)

    def path(source: str, destination: str) -> tuple[int, int]:
        return graph.sources.index(source), graph.destinations.index(destination)

    way = [path("embedding", "layer 0 MLP"), path("layer 0 MLP", "logits")]
    dead = [path("embedding", "layer 1 head 0 key"), path("layer 0 head 1", "logits")]
    for s, d in way + dead:
        kept[s, d] = True
    assert sorted(map(tuple, connected(graph, kept).nonzero().tolist())) == sorted(way)


@pytest.mark.parametrize("task", TASKS)
def test_prompts_of_a_task(task: str) -> None:
    made = tokenizer()
    prompts = english_prompts(task, lambda text: made.encode(text).ids, 8, seed=1)
    assert prompts.tokens.shape == prompts.corrupted.shape and bool((prompts.tokens != prompts.corrupted).any(1).all())
    text = made.decode(prompts.tokens[0, : int(prompts.last[0]) + 1].tolist())
    right, wrong = (made.decode([int(side[0])]) for side in (prompts.right, prompts.wrong))
    if task == "greater_than":
        assert text.endswith(" to the year " + text[-2:]) and right != wrong
    else:
        assert right.strip()[0] in text and right != wrong
    with pytest.raises(ValueError, match=r"only \d+ of 3 prompts of .* fit this tokenizer"):
        english_prompts(task, lambda _: [1, 2], 3)


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = ["attribute", "--model", str(folder), "--prompts", "4", "--output", str(tmp_path)]
    assert main([*command, "--task", "docstring"]) in (0, 1)
    record = json.loads((tmp_path / "docstring-paths.json").read_text())
    assert len(record["nodes"]) == 7 and record["all_edges"] == 46
    assert (record["circuit"] is None) == (not record["edges"])
    assert main([*command[:2], str(tmp_path), "--task", "ioi"]) == 2
    assert "config.json; give a folder of a GPT-2 with its tokenizer" in capsys.readouterr().err
    assert main([*command, "--task", "induction"]) == 2
