"""Twenty tasks of two answers about Python: which of two tokens follows.

After Gao et al., arXiv 2511.13653, table 1. The paper's two-way choice: of both prompts of a pair only the two answer
tokens are compared, at the prompt's last position.
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
from zoo.utils.errors import did_you_mean

SPLITS = ("train", "held_out")
TRIES = 100  # draws for each new pair before a task is said to have no more
CONTEXTS = 500  # idioms to choose from, for what stands before a pair


@dataclass(frozen=True)
class Task:
    """A task of two answers.

    Attributes:
        name: as in the paper.
        description: what decides the answer.
        make: draws a pair.
    """

    name: str
    description: str
    make: Callable[[Writer], Pair]

    def pairs(self, count: int, split: str, seed: int = 0) -> list[Pair]:
        """Different pairs, each after one idiom that both prompts share.

        No prompt occurs in generated text (`zoo.data.synthetic.idioms`). What the two splits ask after that idiom is never the
        same, whatever their seeds.

        Args:
            count: of pairs, at least 1.
            split: "train" or "held_out".
            seed: of the draws.

        Raises:
            ValueError: an unknown split, or a count below 1 or above what the task has.
        """
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}; got '{split}'.")
        if count < 1:
            raise ValueError(f"count must be at least 1; got {count}.")
        writer, found = Writer(f"{self.name} {split} {seed}"), {}
        contexts = [(text, nouns(text)[-1]) for text in (snippet(writer) for _ in range(CONTEXTS))]
        for _ in range(TRIES * count):
            pair = self.make(writer)
            # Each prompt belongs to a split of its own accord, so that no seed and no partner brings it into the other.
            if any(lot(f"split {prompt}", len(SPLITS)) != SPLITS.index(split) for prompt, _ in pair.sides):
                continue
            fitting = {noun for noun in NOUNS if _is_new(noun, pair)}
            if before := [text for text, last in contexts if last in fitting]:
                context = writer.random.choice(before)
                found[pair._replace(positive=context + pair.positive, negative=context + pair.negative)] = None
            if len(found) == count:
                return list(found)
        raise ValueError(f"task '{self.name}' has only {len(found)} pairs for {split}; {count} were asked for.")


def _is_new(last: str, pair: Pair) -> bool:
    """Whether generated text has neither prompt after the noun `last`, though it may have how the answers begin."""
    return all(
        reserved(f"{last} {prompt}") and not reserved(f"{nouns(prompt)[-1]} {answer}") for prompt, answer in pair.sides
    )


class CodePairs(NamedTuple):
    """Pairs as tokens.

    Attributes:
        prompts: (N, 2, T) int64, padded on the right; answer 0 follows prompt 0 of a pair, answer 1 prompt 1.
        answers: (N, 2) int64.
        comparison: "token", or "first token" where an answer is made of several and their first ones are compared.
    """

    prompts: Tensor
    answers: Tensor
    comparison: str


def encode(task: Task, domain: CodeDomain, count: int, split: str, seed: int = 0, nonsense: bool = False) -> CodePairs:
    """Pairs of a task as tokens.

    Args:
        task: see `tasks`.
        domain: whose tokens; of a prompt longer than its context the first tokens are dropped, as in the paper.
        count: of pairs.
        split: "train" or "held_out".
        seed: of the pairs.
        nonsense: change the places of the answers of a pair by the toss of a coin: a control that cannot be learned.

    Raises:
        ValueError: see `Task.pairs`; the first tokens of both answers are the same, a prompt and its answer share a
            token, or the context is too short for what two prompts differ in.
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
                f"task '{task.name}': {pair.answer!r} and {pair.other!r} begin with the same token: they are "
                f"{_shown(domain, found[0])} and {_shown(domain, found[1])}; use a tokenizer of a larger vocabulary."
            )
        inputs = torch.stack([domain.preprocess(prompt, cut=True) for prompt, _ in pair.sides])
        if bool((inputs[0] == inputs[1]).all()):
            raise ValueError(
                f"task '{task.name}': a context of {domain.length} tokens is too short for what two prompts differ in; "
                f"this pair has {len(domain.encode(pair.positive))}."
            )
        prompts.append(inputs)
        answers.append((other, first) if nonsense and coin.random() < 0.5 else (first, other))
    return CodePairs(torch.stack(prompts), torch.tensor(answers), comparison)


def _answer_tokens(task: Task, domain: CodeDomain, prompt: str, answer: str) -> list[int]:
    """The tokens of an answer where it follows its prompt."""
    before, both = domain.encode(prompt), domain.encode(prompt + answer)
    if both[: len(before)] != before:
        raise ValueError(
            f"task '{task.name}': the tokenizer joins the end of a prompt with its answer {answer!r}, so that there is "
            f"no token to choose; {(prompt + answer)[-20:]!r} ends with {_shown(domain, both[-3:])}."
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
        ValueError: there is none; the message says which was probably meant.
    """
    if name not in TASKS:
        raise ValueError(f"no task named '{name}'; {did_you_mean(name, TASKS)}")
    return TASKS[name]


TASKS = {name: Task(name, *about) for name, about in PROMPTS.items()}
