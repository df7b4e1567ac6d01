"""Twenty binary tasks about Python: which of two tokens follows a prompt.

After Gao et al., arXiv 2511.13653, table 1. As in the paper, only the scores of the two answer tokens of a pair are
compared, at the last position of each prompt.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.data.synthetic.code_prompts import PROMPTS, Pair
from zoo.data.synthetic.idioms import NOUNS, Writer, lot, nouns, reserved, snippet
from zoo.domain import CodeDomain
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.errors import did_you_mean

SPLITS = ("train", "held_out")
TRIES = 100  # draws per new pair before the task is considered exhausted
CONTEXTS = 500  # idioms to choose the context of a pair from


@dataclass(frozen=True)
class Task:
    """A binary task.

    Attributes:
        name: as in the paper.
        description: what determines the answer.
        make: draws a pair.
    """

    name: str
    description: str
    make: Callable[[Writer], Pair]

    def pairs(self, count: int, split: str, seed: int = 0) -> list[Pair]:
        """Different pairs, each after a context of one idiom that both prompts share.

        No prompt occurs in generated text (`zoo.data.synthetic.idioms`). Apart from that context, the two splits have
        no prompt in common, whatever their seeds.

        Args:
            count: number of pairs, at least 1.
            split: "train" or "held_out".
            seed: of the random draws.

        Raises:
            ValueError: unknown split, or a count below 1 or above the number of pairs of the task.
        """
        check_choice(SPLITS, split=split)
        check_at_least(1, count=count)
        writer, found = Writer(f"{self.name} {split} {seed}"), {}
        contexts = [(text, nouns(text)[-1]) for text in (snippet(writer) for _ in range(CONTEXTS))]
        for _ in range(TRIES * count):
            pair = self.make(writer)
            # The split follows from the prompt alone, so that no seed and no partner puts it into the other split.
            if any(lot(f"split {prompt}", len(SPLITS)) != SPLITS.index(split) for prompt, _ in pair.sides):
                continue
            fitting = {noun for noun in NOUNS if _is_new(noun, pair)}
            if before := [text for text, last in contexts if last in fitting]:
                context = writer.random.choice(before)
                found[pair._replace(positive=context + pair.positive, negative=context + pair.negative)] = None
            if len(found) == count:
                return list(found)
        raise ValueError(f"task '{self.name}' has only {len(found)} pairs for {split}; {count} were requested.")


def _is_new(last: str, pair: Pair) -> bool:
    """Whether generated text never has either prompt after the noun `last`, but may have the starts of the answers."""
    return all(
        reserved(f"{last} {prompt}") and not reserved(f"{nouns(prompt)[-1]} {answer}") for prompt, answer in pair.sides
    )


class CodePairs(NamedTuple):
    """Pairs as tokens.

    Attributes:
        prompts: (N, 2, T) int64, padded on the right; answer 0 follows prompt 0 of a pair, answer 1 prompt 1.
        answers: (N, 2) int64.
        comparison: "token", or "first token" if an answer has several tokens, of which the first are compared.
    """

    prompts: Tensor
    answers: Tensor
    comparison: str


def encode(task: Task, domain: CodeDomain, count: int, split: str, seed: int = 0, nonsense: bool = False) -> CodePairs:
    """Pairs of a task as tokens.

    Args:
        task: see `tasks`.
        domain: encodes the prompts; the first tokens of a prompt longer than its context are dropped, as in the paper.
        count: number of pairs.
        split: "train" or "held_out".
        seed: of the pairs.
        nonsense: swap the answers of a random half of the pairs: a control task that cannot be learned.

    Raises:
        ValueError: see `Task.pairs`; or both answers start with the same token, a prompt and its answer share a token,
            or the context is too short to contain the difference between two prompts.
    """
    prompts, answers, comparison = [], [], "token"
    coin = random.Random(f"nonsense {task.name} {split} {seed}")
    for pair in task.pairs(count, split, seed):
        found = [_answer_tokens(task, domain, *side) for side in pair.sides]
        if any(len(tokens) > 1 for tokens in found):
            comparison = "first token"
        first, other = found[0][0], found[1][0]
        if first == other:
            raise ValueError(
                f"task '{task.name}': {pair.answer!r} and {pair.other!r} start with the same token: they are "
                f"{_shown(domain, found[0])} and {_shown(domain, found[1])}; use a tokenizer with a larger vocabulary."
            )
        inputs = torch.stack([domain.preprocess(prompt, cut=True) for prompt, _ in pair.sides])
        if bool((inputs[0] == inputs[1]).all()):
            raise ValueError(
                f"task '{task.name}': a context of {domain.length} tokens is too short for the difference of two "
                f"prompts; this pair has {len(domain.encode(pair.positive))}."
            )
        prompts.append(inputs)
        answers.append((other, first) if nonsense and coin.random() < 0.5 else (first, other))
    return CodePairs(torch.stack(prompts), torch.tensor(answers), comparison)


def _answer_tokens(task: Task, domain: CodeDomain, prompt: str, answer: str) -> list[int]:
    """The tokens of an answer after its prompt."""
    before, both = domain.encode(prompt), domain.encode(prompt + answer)
    if both[: len(before)] != before:
        raise ValueError(
            f"task '{task.name}': the tokenizer merges the end of a prompt with its answer {answer!r}, so that there "
            f"is no token to choose; {(prompt + answer)[-20:]!r} ends with {_shown(domain, both[-3:])}."
        )
    return both[len(before) :]


def _shown(domain: CodeDomain, numbers: list[int]) -> str:
    return " + ".join(repr(domain.texts[n]) for n in numbers)


def tasks() -> list[Task]:
    """All tasks."""
    return list(TASKS.values())


def find_task(name: str) -> Task:
    """A task by name.

    Raises:
        ValueError: there is no such task; the message names the closest one.
    """
    if name not in TASKS:
        raise ValueError(f"no task named '{name}'; {did_you_mean(name, TASKS)}")
    return TASKS[name]


TASKS = {name: Task(name, *about) for name, about in PROMPTS.items()}
