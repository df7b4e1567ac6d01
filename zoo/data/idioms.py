"""Generated idioms of Python: simple, repetitive snippets, which teach a small network the patterns of the tasks.

Some choices of words are reserved: they never occur in generated idioms, and tasks are made of them alone, so that no
prompt of a task was ever trained on (`zoo.data.code_tasks`).
"""

import random
import zlib
from collections.abc import Callable, Iterator

NOUNS = [
    "item",
    "value",
    "name",
    "count",
    "total",
    "index",
    "key",
    "path",
    "line",
    "data",
    "node",
    "user",
    "price",
    "size",
    "width",
    "height",
    "depth",
    "color",
    "text",
    "word",
    "page",
    "row",
    "score",
    "level",
    "point",
    "result",
    "buffer",
    "parent",
    "child",
    "label",
    "limit",
    "offset",
    "message",
    "number",
    "weight",
    "order",
    "title",
    "speed",
    "angle",
    "field",
    "group",
    "image",
    "owner",
    "phase",
    "query",
    "route",
    "shape",
    "stage",
    "track",
]
FUNCTIONS = [
    "load",
    "save",
    "read",
    "write",
    "build",
    "check",
    "clean",
    "count",
    "merge",
    "parse",
    "print_all",
    "reset",
    "scan",
    "sort",
    "start",
    "stop",
]
CLASSES = ["Box", "Item", "Node", "Page", "Point", "Shape", "Table", "Track", "User", "View"]
RESERVED = 4  # one in so many choices of words is kept for tasks


def reserved(*words: str) -> bool:
    """Whether this choice of words is kept for tasks, and never generated."""
    return zlib.crc32(" ".join(words).encode()) % RESERVED == 0


class Writer:
    """Draws words for idioms, or for tasks.

    Args:
        seed: of the draws.
        of_tasks: draw reserved choices, in place of the others.
    """

    def __init__(self, seed: int | str, of_tasks: bool = False) -> None:
        self.random, self.of_tasks = random.Random(seed), of_tasks

    def words(self, count: int, kind: str = "") -> list[str]:
        """Different nouns, as a choice that is reserved or not; `kind` tells choices for one idiom from another's."""
        while True:
            chosen = self.random.sample(NOUNS, count)
            if reserved(kind, *chosen) == self.of_tasks:
                return chosen

    def number(self) -> int:
        return self.random.randint(0, 99)

    def any(self, *choices: str) -> str:
        return self.random.choice(choices)


def _quotes(w: Writer) -> str:
    quote = w.any("'", '"')
    return f"print({quote}{' '.join(w.words(w.random.randint(1, 3), 'quotes'))}{quote})\n"


def _kwargs(w: Writer) -> str:
    a, b, c = w.words(3, "kwargs")
    name = w.any(*FUNCTIONS)
    body = f"    return {w.any(a, b, c)}\n"
    return (
        f"def {name}({a}=None, {b}=None, {c}=None):\n{body}"
        if w.number() < 50
        else f"def {name}({a}, {b}, {c}):\n{body}"
    )


def _gather(w: Writer) -> str:
    name, each, many = w.words(3, "gather")
    if w.number() < 25:
        name = "current"
    if w.number() < 50:
        return f"{name} = set()\nfor {each} in {many}:\n    {name}.add({each})\n"
    return f'{name} = ""\nfor {each} in {many}:\n    {name} += {each}\n'


def _init(w: Writer) -> str:
    fields = w.words(3, "init")
    sets = "".join(f"        self.{f} = {f}\n" for f in fields)
    return f"class {w.any(*CLASSES)}:\n    def __init__(self, {', '.join(fields)}):\n{sets}"


def _open(w: Writer) -> str:
    path, handle = w.words(2, "open")
    if w.number() < 50:
        return f"with open({path}) as {handle}:\n    {w.any(*NOUNS)} = {handle}.read()\n"
    return f"{handle} = open({path})\n"


def _mode(w: Writer) -> str:
    kind, handle = w.words(2, "mode")
    way, mode = ("input", "r") if w.number() < 50 else ("output", "w")
    return f'with open("{kind}_{way}.txt", "{mode}") as {handle}:\n    {handle}.close()\n'


def _literal(w: Writer) -> str:
    name, a, b = w.words(3, "literal")
    if w.number() < 50:
        return f'{name} = {{"{a}": {w.number()}, "{b}": {w.number()}}}\n'
    return f'{name} = ["{a}", "{b}"]\n'


def _nested(w: Writer) -> str:
    (name,) = w.words(1, "nested")
    numbers = lambda: ", ".join(str(w.number()) for _ in range(w.random.randint(2, 4)))  # noqa: E731
    return f"{name} = [[{numbers()}], [{numbers()}]]\n" if w.number() < 50 else f"{name} = [{numbers()}]\n"


def _double(w: Writer) -> str:
    (name,) = w.words(1, "double")
    numbers = ", ".join(str(w.number()) for _ in range(w.random.randint(2, 4)))
    return f"{name} = [[{numbers}]]\n" if w.number() < 50 else f"{name} = [{numbers}]\n"


def _loop(w: Writer) -> str:
    a, b = w.words(2, "loop")
    return f"for {a} in {b}:\n    print({a})\n" if w.number() < 50 else f"while {a}:\n    {a} -= 1\n"


def _branches(w: Writer) -> str:
    a, b = w.words(2, "branches")
    more = f"elif {a} == {w.number()}:\n    {b} = {w.number()}\n" if w.number() < 60 else ""
    return f"if {a} == {w.number()}:\n    {b} = {w.number()}\n{more}else:\n    {b} = {w.number()}\n"


def _format(w: Writer) -> str:
    a, b = w.words(2, "format")
    return f'print(f"{a} {{{b}}}")\n' if w.number() < 50 else f'print("{a}")\n'


def _ternary(w: Writer) -> str:
    a, b = w.words(2, "ternary")
    if w.number() < 50:
        return f"{a} = {w.number()} if {b} else {w.number()}\n"
    return f"if {b}:\n    {a} = {w.number()}\n"


def _swap(w: Writer) -> str:
    a, b = w.words(2, "swap")
    return f"{a}, {b} = {b}, {a}\n"


def _function(w: Writer) -> str:
    a, b = w.words(2, "function")
    if w.number() < 50:
        return f"def {w.any(*FUNCTIONS)}({a}):\n    {b} = {a}\n    return {b}\n"
    return f"def {w.any(*FUNCTIONS)}({a}):\n    for {b} in {a}:\n        print({b})\n    return {b}\n"


def _small(w: Writer) -> str:
    a, b = w.words(2, "small")
    return (
        f"{a} = lambda {b}: {b} + {w.number()}\n"
        if w.number() < 50
        else f"def {a}({b}):\n    return {b} + {w.number()}\n"
    )


def _equals(w: Writer) -> str:
    a, b = w.words(2, "equals")
    if w.number() < 50:
        return f"if {a} == {b}:\n    print({b})\n"
    return f"{a} = {b}\n"


def _counted(w: Writer) -> str:
    a, b = w.words(2, "counted")
    if w.number() < 50:
        return f"for i, {a} in enumerate({b}):\n    print(i, {a})\n"
    return f"for {a} in range({b}):\n    print({a})\n"


def _true(w: Writer) -> str:
    (a,) = w.words(1, "true")
    truth = w.any("True", "False")
    return f"if {a} == {truth}:\n    print({a})\n" if w.number() < 50 else f"{a} = {truth}\n"


def _forever(w: Writer) -> str:
    a, b = w.words(2, "forever")
    truth = w.any("True", "False")
    if w.number() < 50:
        return f"def {w.any(*FUNCTIONS)}({a}):\n    while {truth}:\n        {b} = {a}\n"
    return f"def {w.any(*FUNCTIONS)}({a}):\n    return {truth}\n"


IDIOMS: tuple[Callable[[Writer], str], ...] = (
    _quotes, _kwargs, _gather, _init, _open, _mode, _literal, _nested, _double, _loop, _branches, _format, _ternary,
    _swap, _function, _small, _equals, _counted, _true, _forever,
)  # fmt: skip


def documents(seed: int | str, snippets: int = 12) -> Iterator[str]:
    """Endless documents of so many snippets each."""
    writer = Writer(seed)
    while True:
        yield "".join(writer.random.choice(IDIOMS)(writer) for _ in range(snippets))
