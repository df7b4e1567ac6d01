"""Three tasks in English for language models, as pairs of a prompt and a corrupted prompt of the same length.

The tasks are those of Wang et al., "Interpretability in the Wild", ICLR 2023, arXiv 2211.00593 (ioi), Hanna et al.,
"How does GPT-2 compute greater-than?", NeurIPS 2023, arXiv 2305.00586 (greater_than), and Heimersheim and Janiak, "A
circuit for Python docstrings", 2023 (docstring); the templates and words are new.
"""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.utils.checks import check_at_least, check_choice

# fmt: off
NAMES = (
    "Anna", "Ben", "Carl", "Dan", "Emma", "Frank", "Grace", "Henry", "Jack", "Kate", "Laura", "Mark", "Mary", "Nick",
    "Paul", "Peter", "Rose", "Sam", "Sarah", "Tom",
)
PLACES = ("school", "garden", "station", "market", "library", "office", "park", "beach")
THINGS = ("book", "key", "letter", "ticket", "cup", "ring", "map", "coat")
EVENTS = ("war", "journey", "reign", "strike", "drought", "project", "trial", "festival")
FUNCTIONS = ("load", "send", "build", "check", "write", "open", "find", "update")
ARGUMENTS = (
    "name", "size", "path", "data", "key", "value", "text", "file", "image", "user", "time", "result", "index", "label",
)
# fmt: on
TRIES = 50  # draws per prompt


class Draw(NamedTuple):
    """A prompt, its corrupted form, and its right and wrong continuations."""

    prompt: str
    corrupted: str
    right: str
    wrong: str


class EnglishPrompts(NamedTuple):
    """Prompts as tokens of a tokenizer.

    Attributes:
        tokens: (B, T), padded on the right with 0.
        corrupted: (B, T), prompts of the same lengths.
        last: (B,), positions of the last tokens.
        right: (B,), the right next token.
        wrong: (B,), the wrong one.
    """

    tokens: Tensor
    corrupted: Tensor
    last: Tensor
    right: Tensor
    wrong: Tensor


def _ioi(draw: random.Random) -> Draw:
    """Two names, of which one occurs again; the other one follows. Corrupted: the other name occurs again."""
    giver, taker = draw.sample(NAMES, 2)
    first, second = draw.sample((giver, taker), 2)
    place, thing = draw.choice(PLACES), draw.choice(THINGS)
    start = f"When {first} and {second} were at the {place},"
    prompt, corrupted = (f"{start} {name} gave a {thing} to" for name in (giver, taker))
    return Draw(prompt, corrupted, f" {taker}", f" {giver}")


def _greater_than(draw: random.Random) -> Draw:
    """A year of the same century follows, which is later. Corrupted: the first year ends with 01."""
    century, year = draw.randint(12, 19), draw.randint(22, 78)
    near = draw.randint(3, 20)

    def text(first: str) -> str:
        return f"The {event} lasted from the year {century}{first} to the year {century}"

    event = draw.choice(EVENTS)
    return Draw(text(f"{year:02d}"), text("01"), f"{year + near:02d}", f"{year - near:02d}")


def _docstring(draw: random.Random) -> Draw:
    """The next argument of a function is described. Corrupted: another argument stands in its place."""
    first, second, third, other = draw.sample(ARGUMENTS, 4)
    name, thing = draw.choice(FUNCTIONS), draw.choice(THINGS)

    def text(argument: str) -> str:
        described = "".join(f"    :param {known}: the {known}\n" for known in (first, second))
        return f'def {name}(self, {first}, {second}, {argument}):\n    """{name} the {thing}\n\n{described}    :param'

    return Draw(text(third), text(other), f" {third}", f" {other}")


TASKS: dict[str, Callable[[random.Random], Draw]] = {
    "ioi": _ioi,
    "greater_than": _greater_than,
    "docstring": _docstring,
}


def english_prompts(task: str, encode: Callable[[str], Sequence[int]], count: int, seed: int = 0) -> EnglishPrompts:
    """Different prompts of a task; those that the tokenizer cuts in an unfitting way are left out.

    A continuation is the first token that follows a prompt, and the two of a prompt differ. A prompt and its corrupted
    form have the same number of tokens.

    Args:
        task: "ioi", "greater_than" or "docstring".
        encode: numbers of the tokens of a text, without special tokens.
        count: number of prompts.
        seed: of the draws.

    Raises:
        ValueError: unknown task, a count below 1, or too few prompts that fit the tokenizer.
    """
    check_choice(TASKS, task=task)
    check_at_least(1, count=count)
    draw, found = random.Random(f"{task} {seed}"), {}
    for _ in range(TRIES * count):
        text = TASKS[task](draw)
        prompt, corrupted = list(encode(text.prompt)), list(encode(text.corrupted))
        sides = [list(encode(text.prompt + side)) for side in (text.right, text.wrong)]
        fits = len(prompt) == len(corrupted) and prompt != corrupted
        fits = fits and all(side[: len(prompt)] == prompt and len(side) > len(prompt) for side in sides)
        if fits and (answers := [side[len(prompt)] for side in sides])[0] != answers[1]:
            found[text] = (prompt, corrupted, *answers)
        if len(found) == count:
            break
    if len(found) < count:
        raise ValueError(
            f"only {len(found)} of {count} prompts of '{task}' fit this tokenizer: a prompt and its corrupted form "
            "must have equally many tokens, and its answers must start with different ones. Ask for fewer prompts."
        )
    rows = list(found.values())
    last = torch.tensor([len(row[0]) - 1 for row in rows])
    padded = torch.zeros(2, count, int(last.max()) + 1, dtype=torch.long)
    for i, row in enumerate(rows):
        for side in (0, 1):
            padded[side, i, : len(row[side])] = torch.tensor(row[side])
    right, wrong = (torch.tensor([row[k] for row in rows]) for k in (2, 3))
    return EnglishPrompts(padded[0], padded[1], last, right, wrong)
