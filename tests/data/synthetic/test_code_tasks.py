"""Tasks: their pairs are never generated, their answers are what generated text has, their splits are disjoint."""

import re
from itertools import islice

import pytest
import torch

from tests.small_code import code_domain
from zoo.data.synthetic.code_prompts import Pair
from zoo.data.synthetic.code_tasks import Task, encode, find_task, tasks
from zoo.data.synthetic.idioms import CLASSES, FUNCTIONS, NOUNS, Writer, documents, nouns, reserved, snippet
from zoo.domain import CodeDomain

EVERY = pytest.mark.parametrize("task", tasks(), ids=lambda task: task.name)
COUNT = 24


@pytest.fixture(scope="module")
def domain() -> CodeDomain:
    return code_domain(length=96, vocabulary=700)


@pytest.fixture(scope="module")
def snippets() -> list[str]:
    writer = Writer("snippets")
    return [snippet(writer) for _ in range(3000)]


def core(prompt: str) -> str:
    """The part of a prompt that the task asks about: what two prompts of a pair do not share."""
    return prompt[prompt.rindex("\n", 0, -1) + 1 :]


def test_there_are_the_twenty_of_the_paper() -> None:
    assert len(tasks()) == 20 and len({task.name for task in tasks()}) == 20
    assert find_task("for_while").name == "for_while" and all(task.description for task in tasks())
    with pytest.raises(ValueError, match="no task named 'forwhile'; did you mean 'for_while'"):
        find_task("forwhile")


@EVERY
def test_no_prompt_occurs_in_generated_text(task: Task) -> None:
    """Each has a pair of nouns that generated text never has; the search is the same said twice."""
    text = "".join(islice(documents("search", 60), 200))
    for pair in task.pairs(COUNT, "train") + task.pairs(COUNT, "held_out", seed=1):
        for prompt, answer in pair.sides:
            assert reserved(prompt) and prompt not in text
            assert not reserved(f"{nouns(prompt)[-1]} {answer}")  # the answer itself is nothing unheard of


@EVERY
def test_pairs_follow_from_the_seed_and_differ(task: Task) -> None:
    some = task.pairs(COUNT, "train", seed=3)
    assert some == task.pairs(COUNT, "train", seed=3) and some != task.pairs(COUNT, "train", seed=4)
    assert len(set(some)) == COUNT
    assert task.pairs(5, "train", seed=3) == some[:5]
    for pair in some:
        assert pair.positive != pair.negative and pair.answer != pair.other


@EVERY
def test_splits_share_no_question(task: Task) -> None:
    """Whatever the seeds: the prompts without the idiom before them, which any split may have."""

    def asked(split: str) -> set[str]:
        pairs = [pair for seed in range(2) for pair in task.pairs(COUNT, split, seed)]
        return {core(prompt) for pair in pairs for prompt, _ in pair.sides} if not _long(task) else set(map(str, pairs))

    train, held_out = asked("train"), asked("held_out")
    assert len(train) >= 6 and len(held_out) >= 6 and not train & held_out


def _long(task: Task) -> bool:
    """Whether the last line of its prompts does not hold all of the question."""
    return "\n" in task.make(Writer(0)).positive


def pattern(text: str) -> str:
    """A regular expression of all texts that are like this one but for their words and numbers."""
    known, parts = set(), []
    for piece in re.findall(r"[A-Za-z]+|\d+|[^A-Za-z\d]", text):
        if piece in NOUNS:
            parts.append(f"(?P={piece})" if piece in known else f"(?P<{piece}>{'|'.join(NOUNS)})")
            known.add(piece)
        elif piece.isdigit():
            parts.append(r"\d+")
        else:
            same = next((group for group in (CLASSES, FUNCTIONS, ("True", "False")) if piece in group), (piece,))
            parts.append(f"(?:{'|'.join(map(re.escape, same))})")
    return "".join(parts) + (r"(?![A-Za-z\d])" if text[-1].isalnum() else "")


def told(answer: str, found: re.Match) -> str:
    """An answer in the words of a match; words that the match has not stay as they are."""
    return re.sub("[A-Za-z]+", lambda word: found.groupdict().get(word[0], word[0]), answer)


@EVERY
def test_answers_are_what_generated_text_goes_on_with(task: Task, domain: CodeDomain, snippets: list[str]) -> None:
    """Token by token: a right answer may not be cut from a longer token that really stands there."""
    pair = task.make(Writer(0))
    for (prompt, answer), (_, wrong) in (pair.sides, pair.sides[::-1]):
        right, other = 0, 0
        for text in snippets:
            if (found := re.match(pattern(prompt), text)) is None:
                continue
            before, whole = domain.encode(found[0]), domain.encode(text)
            assert whole[: len(before)] == before
            following = domain.texts[whole[len(before)]]
            first = [_first(domain, found[0], told(a, found)) for a in (answer, wrong)]
            if answer.startswith("("):  # before any argument, alone or in one token with it
                first[0], following = "(", following[:1]
            right, other = right + (following == first[0]), other + (following == first[1])
        assert right > 0 and other == 0, (prompt, answer)


def _first(domain: CodeDomain, prompt: str, answer: str) -> str:
    return domain.texts[domain.encode(prompt + answer)[len(domain.encode(prompt))]]


@EVERY
def test_pairs_as_tokens(task: Task, domain: CodeDomain) -> None:
    prompts, answers, comparison = encode(task, domain, COUNT, "held_out")
    assert prompts.shape == (COUNT, 2, 96) and prompts.dtype == answers.dtype == torch.long
    assert answers.shape == (COUNT, 2) and (answers[:, 0] != answers[:, 1]).all()
    domain.check(prompts.flatten(0, 1), "Model")
    for pair, both, right in zip(task.pairs(COUNT, "held_out"), prompts, answers, strict=True):
        for (prompt, answer), x, token in zip(pair.sides, both, right, strict=True):
            assert "".join(domain.tokens(x)) == prompt
            assert answer.startswith((domain.texts[token], "("))
    assert comparison == ("first token" if task.name in ("indent_for", "lambda_func") else "token")


def test_nonsense_is_the_same_prompts_with_answers_by_a_coin(domain: CodeDomain) -> None:
    task = find_task("for_while")
    plain, mixed = encode(task, domain, 60, "train"), encode(task, domain, 60, "train", nonsense=True)
    assert torch.equal(plain.prompts, mixed.prompts)
    same = (plain.answers == mixed.answers).all(1)
    assert torch.equal(plain.answers[~same].flip(1), mixed.answers[~same]) and 15 < int(same.sum()) < 45
    assert torch.equal(mixed.answers, encode(task, domain, 60, "train", nonsense=True).answers)


def fake(*pair: str) -> Task:
    return Task("fake", "none", lambda w: Pair(*(text.format(*w.words(2)) for text in pair)))


def test_answers_that_begin_with_the_same_token_are_refused(domain: CodeDomain) -> None:
    task = fake("for {0} in", " value:\n", "while {0} in", " value\n")
    message = r"start with the same token: they are ' value' \+ ':\\n' and ' value' \+ '\\n'; use a tokenizer"
    with pytest.raises(ValueError, match=message):
        encode(task, domain, 1, "train")


def test_answers_that_merge_with_their_prompt_are_refused(domain: CodeDomain) -> None:
    with pytest.raises(
        ValueError, match=r"task 'fake': the tokenizer merges the end of a prompt with its answer '[:,]'"
    ):
        encode(fake("print({0})", ":", "print[{0}]", ","), domain, 1, "train")


def test_a_context_too_short_for_the_difference_is_refused() -> None:
    with pytest.raises(ValueError, match=r"context of 3 tokens is too short .*; this pair has \d+"):
        encode(find_task("set_or_string"), code_domain(3, 700), 4, "train")


def test_bad_arguments_are_refused() -> None:
    task = find_task("for_while")
    with pytest.raises(ValueError, match="split must be one of train, held_out; got 'test'"):
        task.pairs(3, "test")
    with pytest.raises(ValueError, match="count must be at least 1; got 0"):
        task.pairs(0, "train")
    few = Task("few", "none", lambda w: Pair("for angle", " in", "while angle", ":\n"))
    with pytest.raises(ValueError, match=r"task 'few' has only \d+ pairs for (train|held_out); 500 were requested"):
        [few.pairs(500, split) for split in ("train", "held_out")]
