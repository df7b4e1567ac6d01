"""Twenty tasks of two answers about Python: which of two tokens follows.

After Gao et al., arXiv 2511.13653, table 1. Their prompts were not released; these are made of the patterns of
`zoo.data.idioms` with choices of words that are never generated there. A pair differs only in what decides the answer.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.data.idioms import CLASSES, FUNCTIONS, IDIOMS, Writer
from zoo.domain.code import CodeDomain
from zoo.hints import hint

SPLITS = ("train", "held_out")
TRIES = 50  # draws for each new pair before a task is said to have no more


class Pair(NamedTuple):
    """Two prompts and what follows each; what follows one does not follow the other."""

    positive: str
    answer: str
    negative: str
    other: str


@dataclass(frozen=True)
class Task:
    """A task of two answers.

    Attributes:
        name: as in the paper.
        description: what decides the answer.
        make: one pair from a writer of reserved words.
    """

    name: str
    description: str
    make: Callable[[Writer], Pair]

    def pairs(self, count: int, split: str, seed: int = 0) -> list[Pair]:
        """Different pairs; those of the two splits have no prompt in common, whatever the seed.

        Raises:
            ValueError: an unknown split, or more pairs than the task has.
        """
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}; got '{split}'.")
        # A prompt belongs to a split by a number of its own, so that no seed brings it into the other.
        side, found = SPLITS.index(split), {}
        writer = Writer(f"{self.name} {seed}", of_tasks=True)
        context = Writer(f"context {self.name} {seed}")
        for _ in range(TRIES * count):
            pair = self.make(writer)
            if (
                random.Random(pair.positive).randint(0, 1) == side
                and random.Random(pair.negative).randint(0, 1) == side
            ):
                before = context.random.choice(IDIOMS)(context)
                pair = pair._replace(positive=before + pair.positive, negative=before + pair.negative)
                found.setdefault((pair.positive, pair.negative), pair)
            if len(found) == count:
                return list(found.values())
        raise ValueError(f"task '{self.name}' has only {len(found)} pairs for {split}; {count} were asked for.")


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
        domain: whose tokens.
        count: of pairs.
        split: "train" or "held_out".
        seed: of the pairs.
        nonsense: change the places of the answers of a pair by the toss of a coin: a control that cannot be learned.

    Raises:
        ValueError: the first tokens of both answers are the same, or a prompt and its answer share a token.
    """
    prompts, answers, single = [], [], True
    coin = random.Random(f"nonsense {task.name} {split} {seed}")
    for pair in task.pairs(count, split, seed):
        sides = ((pair.positive, pair.answer), (pair.negative, pair.other))
        firsts = []
        for prompt, answer in sides:
            before, both = domain.encode(prompt), domain.encode(prompt + answer)
            if both[: len(before)] != before or len(both) == len(before):
                shown = ", ".join(repr(domain.texts[n]) for n in both[-3:])
                raise ValueError(
                    f"task '{task.name}': the tokenizer joins the end of a prompt with its answer {answer!r} (the last "
                    f"tokens are {shown}), so there is no token to choose."
                )
            single &= len(both) == len(before) + 1
            firsts.append(both[len(before)])
        if firsts[0] == firsts[1]:
            raise ValueError(
                f"task '{task.name}': {pair.answer!r} and {pair.other!r} begin with the same token "
                f"{domain.texts[firsts[0]]!r}, so it cannot be chosen between them; use a larger vocabulary."
            )
        prompts.append(torch.stack([domain.preprocess(prompt, cut=True) for prompt, _ in sides]))
        answers.append(firsts[::-1] if nonsense and coin.random() < 0.5 else firsts)
    return CodePairs(torch.stack(prompts), torch.tensor(answers), "token" if single else "first token")


def tasks() -> list[Task]:
    """All tasks."""
    return list(TASKS.values())


def find_task(name: str) -> Task:
    """A task by name.

    Raises:
        ValueError: there is none; the message says which was probably meant.
    """
    if name not in TASKS:
        raise ValueError(f"no task named '{name}'; {hint(name, TASKS)}")
    return TASKS[name]


TASKS: dict[str, Task] = {}


def _task(description: str) -> Callable[[Callable[[Writer], Pair]], Callable[[Writer], Pair]]:
    def enter(make: Callable[[Writer], Pair]) -> Callable[[Writer], Pair]:
        name = make.__name__.lstrip("_")
        TASKS[name] = Task(name, description, make)
        return make

    return enter


@_task("a string ends with the quote that it began with")
def _single_double_quote(w: Writer) -> Pair:
    text = " ".join(w.words(2, "quotes"))
    return Pair(f'print("{text}', '")\n', f"print('{text}", "')\n")


@_task("the last argument has a default if the others have")
def _final_kwarg(w: Writer) -> Pair:
    a, b, c = w.words(3, "kwargs")
    name = w.any(*FUNCTIONS)
    return Pair(f"def {name}({a}=None, {b}=None, {c}", "=None", f"def {name}({a}, {b}, {c}", "):\n")


@_task("a set is added to, a string is appended to")
def _set_or_string(w: Writer) -> Pair:
    name, each, many = w.words(3, "gather")
    loop = f"for {each} in {many}:\n    {name}"
    return Pair(f"{name} = set()\n{loop}", ".add", f'{name} = ""\n{loop}', " +=")


@_task("a set is added to, a string is appended to; the variable always has one name")
def _set_or_string_fixedvarname(w: Writer) -> Pair:
    _, each, many = w.words(3, "gather")
    loop = f"for {each} in {many}:\n    current"
    return Pair(f"current = set()\n{loop}", ".add", f'current = ""\n{loop}', " +=")


@_task("an attribute is set to the argument of its name")
def _class_init(w: Writer) -> Pair:
    a, b, c = w.words(3, "init")
    head = f"class {w.any(*CLASSES)}:\n    def __init__(self, {a}, {b}, {c}):\n        self.{a} = {a}\n        self."
    return Pair(f"{head}{b} =", f" {b}", f"{head}{c} =", f" {c}")


@_task("a file opened by `with` is given a name after the bracket")
def _with_as(w: Writer) -> Pair:
    path, handle = w.words(2, "open")
    return Pair(f"with open({path}", ")", f"{handle} = open({path}", ")\n")


@_task("in braces a colon follows the first string, in brackets a comma")
def _bracket_brace(w: Writer) -> Pair:
    name, a, _ = w.words(3, "literal")
    return Pair(f'{name} = {{"{a}', '":', f'{name} = ["{a}', '",')


@_task("an input is opened to read, an output to write")
def _with_open(w: Writer) -> Pair:
    kind, _ = w.words(2, "mode")
    return Pair(f'with open("{kind}_input.txt", "', "r", f'with open("{kind}_output.txt", "', "w")


@_task("as many brackets are closed as were opened")
def _bracket_counting(w: Writer) -> Pair:
    (name,) = w.words(1, "double")
    numbers = ", ".join(str(w.number()) for _ in range(w.random.randint(2, 4)))
    return Pair(f"{name} = [[{numbers}", "]]\n", f"{name} = [{numbers}", "]\n")


@_task("`in` follows the variable of a for loop")
def _for_while(w: Writer) -> Pair:
    a, _ = w.words(2, "loop")
    return Pair(f"for {a}", " in", f"while {a}", ":\n")


@_task("a condition follows elif, and none follows else")
def _else_elif(w: Writer) -> Pair:
    a, b = w.words(2, "branches")
    head = f"if {a} == {w.number()}:\n    {b} = {w.number()}\n"
    return Pair(f"{head}else", ":\n", f"{head}elif", f" {a}")


@_task("a brace follows in an f-string, the end in a plain one")
def _fstring_brace(w: Writer) -> Pair:
    a, _ = w.words(2, "format")
    return Pair(f'print(f"{a}', " {", f'print("{a}', '")\n')


@_task("a colon follows an if statement, else an if expression")
def _if_ternary(w: Writer) -> Pair:
    a, b = w.words(2, "ternary")
    return Pair(f"if {b}", ":\n", f"{a} = {w.number()} if {b}", " else")


@_task("two variables are swapped")
def _var_swap(w: Writer) -> Pair:
    a, b = w.words(2, "swap")
    return Pair(f"{a}, {b} = {b},", f" {a}", f"{b}, {a} = {a},", f" {b}")


@_task("what follows a for line is indented deeper")
def _indent_for(w: Writer) -> Pair:
    a, b = w.words(2, "function")
    head = f"def {w.any(*FUNCTIONS)}({a}):\n    "
    return Pair(f"{head}for {b} in {a}:\n", "        print", f"{head}{b} = {a}\n", "    return")


@_task("a colon follows the argument of a lambda, a bracket the name of a function")
def _lambda_func(w: Writer) -> Pair:
    a, b = w.words(2, "small")
    return Pair(f"{a} = lambda {b}", ":", f"def {b}", f"({a}")


@_task("a condition compares, a statement sets")
def _if_equals(w: Writer) -> Pair:
    a, _ = w.words(2, "equals")
    return Pair(f"if {a}", " ==", f"{a}", " =")


@_task("two variables take from enumerate, one from range")
def _enumerate_range(w: Writer) -> Pair:
    a, _ = w.words(2, "counted")
    return Pair(f"for i, {a} in", " enumerate", f"for {a} in", " range")


@_task("a colon follows a comparison, the end of the line an assignment")
def _var_if(w: Writer) -> Pair:
    (a,) = w.words(1, "true")
    truth = w.any("True", "False")
    return Pair(f"if {a} == {truth}", ":\n", f"{a} = {truth}", "\n")


@_task("a colon follows while True, the end of the line return True")
def _while_return_true(w: Writer) -> Pair:
    a, _ = w.words(2, "forever")
    head, truth = f"def {w.any(*FUNCTIONS)}({a}):\n    ", w.any("True", "False")
    return Pair(f"{head}while {truth}", ":\n", f"{head}return {truth}", "\n")
