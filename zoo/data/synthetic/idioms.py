"""Generated Python idioms: simple, repetitive snippets that contain the patterns of the code tasks.

Some ordered pairs of nouns are reserved: in generated text the second is never the next noun after the first. Every
prompt of a task contains such a pair (`zoo.data.synthetic.code_tasks`), so that no prompt occurs in the training text.
"""

import hashlib
import random
import re
from collections.abc import Callable, Iterator
from itertools import pairwise, permutations

# fmt: off
NOUNS = (
    "angle", "buffer", "child", "color", "count", "data", "depth", "field", "group", "height", "image", "index", "item",
    "key", "label", "level", "limit", "line", "message", "name", "node", "number", "offset", "order", "owner", "page",
    "parent", "path", "phase", "point", "price", "query", "result", "route", "row", "score", "shape", "size", "speed",
    "stage", "text", "title", "total", "track", "user", "value", "weight", "width", "word",
)
FUNCTIONS = (
    "build", "check", "clean", "load", "merge", "parse", "print_all", "read", "reset", "save", "scan", "sort", "start",
    "stop", "update", "write",
)
CLASSES = ("Box", "Item", "Node", "Page", "Point", "Shape", "Table", "Track", "User", "View")
# fmt: on
WORD = re.compile("[A-Za-z]+")
SHARE = 8  # one in 8 pairs of nouns is reserved


def lot(text: str, sides: int) -> int:
    """A number below `sides` from a hash of the text, equal on every machine."""
    return hashlib.sha256(text.encode()).digest()[0] % sides


RESERVED = frozenset(pair for pair in permutations(NOUNS, 2) if lot(" ".join(pair), SHARE) == 0)
KNOWN = frozenset(NOUNS)


def nouns(text: str) -> list[str]:
    """The nouns of a text in order."""
    return [word for word in WORD.findall(text) if word in KNOWN]


def reserved(text: str) -> bool:
    """Whether two consecutive nouns of this text are a reserved pair, which never occurs in generated text."""
    return any(pair in RESERVED for pair in pairwise(nouns(text)))


class Writer:
    """Draws words and numbers.

    Args:
        seed: of the draws.
    """

    def __init__(self, seed: int | str) -> None:
        self.random = random.Random(seed)

    def words(self, count: int) -> list[str]:
        """Different nouns."""
        return self.random.sample(NOUNS, count)

    def number(self) -> int:
        """A number below 100."""
        return self.random.randint(0, 99)

    def numbers(self) -> str:
        """Two to four numbers, separated by commas."""
        return ", ".join(str(self.number()) for _ in range(self.random.randint(2, 4)))

    def any(self, *choices: str) -> str:
        """One of the choices."""
        return self.random.choice(choices)


def _quotes(w: Writer) -> str:
    quote = w.any("'", '"')
    return f"print({quote}{' '.join(w.words(w.random.randint(1, 3)))}{quote})\n"


def _kwargs(w: Writer) -> str:
    a, b, c = w.words(3)
    name = w.any(*FUNCTIONS)
    body = f"    return {w.any(a, b, c)}\n"
    return (
        f"def {name}({a}=None, {b}=None, {c}=None):\n{body}"
        if w.number() < 50
        else f"def {name}({a}, {b}, {c}):\n{body}"
    )


def _gather(w: Writer) -> str:
    name, each, many = w.words(3)
    if w.number() < 25:
        name = "current"
    if w.number() < 50:
        return f"{name} = set()\nfor {each} in {many}:\n    {name}.add({each})\n"
    return f'{name} = ""\nfor {each} in {many}:\n    {name} += {each}\n'


def _init(w: Writer) -> str:
    fields = w.words(3)
    sets = "".join(f"        self.{f} = {f}\n" for f in w.random.sample(fields, 3))
    return f"class {w.any(*CLASSES)}:\n    def __init__(self, {', '.join(fields)}):\n{sets}"


def _open(w: Writer) -> str:
    path, handle = w.words(2)
    if w.number() < 50:
        return f"with open({path}) as {handle}:\n    {w.any(*NOUNS)} = {handle}.read()\n"
    return f"{handle} = open({path})\n"


def _mode(w: Writer) -> str:
    kind, handle = w.words(2)
    way, mode = ("input", "r") if w.number() < 50 else ("output", "w")
    return f'with open("{kind}_{way}.txt", "{mode}") as {handle}:\n    {handle}.close()\n'


def _literal(w: Writer) -> str:
    name, a, b = w.words(3)
    if w.number() < 50:
        return f'{name} = {{"{a}": {w.number()}, "{b}": {w.number()}}}\n'
    return f'{name} = ["{a}", "{b}"]\n'


def _nested(w: Writer) -> str:
    (name,) = w.words(1)
    return f"{name} = [[{w.numbers()}], [{w.numbers()}]]\n" if w.number() < 50 else f"{name} = [{w.numbers()}]\n"


def _double(w: Writer) -> str:
    (name,) = w.words(1)
    return f"{name} = [[{w.numbers()}]]\n" if w.number() < 50 else f"{name} = [{w.numbers()}]\n"


def _loop(w: Writer) -> str:
    a, b = w.words(2)
    return f"for {a} in {b}:\n    print({a})\n" if w.number() < 50 else f"while {a}:\n    {a} -= 1\n"


def _branches(w: Writer) -> str:
    a, b = w.words(2)
    more = f"elif {a} == {w.number()}:\n    {b} = {w.number()}\n" if w.number() < 60 else ""
    return f"if {a} == {w.number()}:\n    {b} = {w.number()}\n{more}else:\n    {b} = {w.number()}\n"


def _format(w: Writer) -> str:
    a, b = w.words(2)
    return f'print(f"{a} {{{b}}}")\n' if w.number() < 50 else f'print("{a}")\n'


def _ternary(w: Writer) -> str:
    a, b = w.words(2)
    if w.number() < 50:
        return f"{a} = {w.number()} if {b} else {w.number()}\n"
    return f"if {b}:\n    {a} = {w.number()}\n"


def _swap(w: Writer) -> str:
    a, b = w.words(2)
    return f"{a}, {b} = {b}, {a}\n"


def _function(w: Writer) -> str:
    a, b = w.words(2)
    if w.number() < 50:
        return f"def {w.any(*FUNCTIONS)}({a}):\n    {b} = {a}\n    return {b}\n"
    return f"def {w.any(*FUNCTIONS)}({a}):\n    for {b} in {a}:\n        print({b})\n    return {b}\n"


def _small(w: Writer) -> str:
    a, b = w.words(2)
    return (
        f"{a} = lambda {b}: {b} + {w.number()}\n"
        if w.number() < 50
        else f"def {a}({b}):\n    return {b} + {w.number()}\n"
    )


def _equals(w: Writer) -> str:
    a, b = w.words(2)
    if w.number() < 50:
        return f"if {a} == {b}:\n    print({b})\n"
    return f"{a} = {b}\n"


def _counted(w: Writer) -> str:
    a, b = w.words(2)
    if w.number() < 50:
        return f"for i, {a} in enumerate({b}):\n    print(i, {a})\n"
    return f"for {a} in range({b}):\n    print({a})\n"


def _true(w: Writer) -> str:
    (a,) = w.words(1)
    truth = w.any("True", "False")
    return f"if {a} == {truth}:\n    print({a})\n" if w.number() < 50 else f"{a} = {truth}\n"


def _forever(w: Writer) -> str:
    a, b = w.words(2)
    truth = w.any("True", "False")
    if w.number() < 50:
        return f"def {w.any(*FUNCTIONS)}({a}):\n    while {truth}:\n        {b} = {a}\n"
    return f"def {w.any(*FUNCTIONS)}({a}):\n    return {truth}\n"


IDIOMS: tuple[Callable[[Writer], str], ...] = (
    _quotes, _kwargs, _gather, _init, _open, _mode, _literal, _nested, _double, _loop, _branches, _format, _ternary,
    _swap, _function, _small, _equals, _counted, _true, _forever,
)  # fmt: skip


def snippet(writer: Writer, after: str = "") -> str:
    """One idiom without a reserved pair of nouns, including the noun `after` that precedes it."""
    write = writer.random.choice(IDIOMS)  # drawn once: long idioms are rejected more often, and would become rare
    while reserved(f"{after} {(text := write(writer))}"):
        pass
    return text


def documents(seed: int | str, snippets: int = 12) -> Iterator[str]:
    """Endless documents of `snippets` idioms each, without reserved pairs of nouns."""
    writer = Writer(seed)
    while True:
        parts, last = [], ""
        for _ in range(snippets):
            parts.append(snippet(writer, last))
            last = nouns(parts[-1])[-1]
        yield "".join(parts)
