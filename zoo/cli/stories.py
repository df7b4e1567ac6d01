"""The stories of the circuits that lie in a checkpoint, run again."""

from pathlib import Path

import zoo
from zoo.checkpoints.config_file import CIRCUITS
from zoo.circuits.analysis.intervene import pairs_of_equal_length
from zoo.circuits.analysis.story import Outcome, Story, outcomes_text
from zoo.circuits.analysis.token_pair_task import TokenPairTask
from zoo.circuits.network.circuit import Circuit
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.data.synthetic.code_tasks import encode, find_task
from zoo.domain import CodeDomain


def check_stories(folder: Path) -> int:
    """Makes all experiments of the stories in a checkpoint; returns their number.

    Raises:
        ValueError: an experiment measures another effect than the story expects; the message lists all of that story.
    """
    count = 0
    for path in sorted((folder / CIRCUITS).glob("*.yaml")):
        model = zoo.load(folder)
        if not isinstance(model, SparseTransformer):
            raise ValueError(f"{path} is about a sparse_transformer; {folder} is a {type(model).__name__}.")
        circuit = path.with_suffix(".safetensors")
        outcomes = run_story(model, Story.load(path), Circuit.load(circuit) if circuit.is_file() else None)
        if not all(outcome.passed for outcome in outcomes):
            raise ValueError(f"{path} expects other effects than it has:\n{outcomes_text(outcomes)}")
        count += len(outcomes)
    return count


def run_story(model: SparseTransformer, story: Story, circuit: Circuit | None) -> list[Outcome]:
    """Makes the experiments of a story on held-out prompts of its task.

    Raises:
        ValueError: see `Story.run` and `held_out_pairs`.
    """
    pairs, _ = held_out_pairs(model, story.task, story.pairs, story.seed, equal=story.swaps)
    return story.run(model, pairs, circuit)


def held_out_pairs(
    model: SparseTransformer, name: str, count: int, seed: int, equal: bool
) -> tuple[TokenPairTask, int]:
    """Held-out pairs of a task and, if their prompts must have equal lengths, the number of pairs left out.

    Raises:
        ValueError: there is no such task, or no pair whose prompts have the same number of tokens.
    """
    assert isinstance(model.domain, CodeDomain)
    found = encode(find_task(name), model.domain, count, "held_out", seed)
    given = TokenPairTask.of_pairs(found.prompts, found.answers)
    pairs = pairs_of_equal_length(given) if equal else given
    if not len(pairs):
        raise ValueError(
            f"the two prompts of every pair of '{name}' have different numbers of tokens, so their positions do "
            "not correspond; choose another task, or an intervention other than swap."
        )
    return pairs, (len(given) - len(pairs)) // 2
