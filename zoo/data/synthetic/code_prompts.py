"""The prompts of the twenty code tasks: pairs that differ only in what determines the answer.

After Gao et al., arXiv 2511.13653, table 1. Their prompts were not released; these follow the patterns of
`zoo.data.synthetic.idioms`.
"""

from collections.abc import Callable
from typing import NamedTuple

from zoo.data.synthetic.idioms import CLASSES, FUNCTIONS, Writer


class Pair(NamedTuple):
    """Two prompts and the answer to each; the answer to one does not follow the other."""

    positive: str
    answer: str
    negative: str
    other: str

    @property
    def sides(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Each prompt with its answer."""
        return (self.positive, self.answer), (self.negative, self.other)


PROMPTS: dict[
    str, tuple[str, Callable[[Writer], Pair]]
] = {}  # of each task: what determines the answer, and a function that draws a pair


def _task(decided_by: str) -> Callable[[Callable[[Writer], Pair]], Callable[[Writer], Pair]]:
    def enter(make: Callable[[Writer], Pair]) -> Callable[[Writer], Pair]:
        PROMPTS[make.__name__.lstrip("_")] = (decided_by, make)
        return make

    return enter


@_task("a string ends with the quote that it starts with")
def _single_double_quote(w: Writer) -> Pair:
    text = " ".join(w.words(2))
    return Pair(f'print("{text}', '")\n', f"print('{text}", "')\n")


@_task("the last argument has a default if the others have")
def _final_kwarg(w: Writer) -> Pair:
    a, b, c = w.words(3)
    name = w.any(*FUNCTIONS)
    return Pair(f"def {name}({a}=None, {b}=None, {c}", "=None", f"def {name}({a}, {b}, {c}", "):\n")


@_task("a set is added to, a string is appended to")
def _set_or_string(w: Writer) -> Pair:
    name, each, many = w.words(3)
    loop = f"for {each} in {many}:\n    {name}"
    return Pair(f"{name} = set()\n{loop}", ".add", f'{name} = ""\n{loop}', " +=")


@_task("a set is added to, a string is appended to; the variable always has one name")
def _set_or_string_fixedvarname(w: Writer) -> Pair:
    each, many = w.words(2)
    loop = f"for {each} in {many}:\n    current"
    return Pair(f"current = set()\n{loop}", ".add", f'current = ""\n{loop}', " +=")


@_task("an attribute is set to the argument of its name")
def _class_init(w: Writer) -> Pair:
    a, b, c = w.words(3)
    head = f"class {w.any(*CLASSES)}:\n    def __init__(self, {a}, {b}, {c}):\n        self.{a} = {a}\n        self."
    return Pair(f"{head}{b} =", f" {b}", f"{head}{c} =", f" {c}")


@_task("a file opened by `with` is given a name after the bracket")
def _with_as(w: Writer) -> Pair:
    path, handle = w.words(2)
    return Pair(f"with open({path}", ")", f"{handle} = open({path}", ")\n")


@_task("in braces a colon follows the first string, in brackets a comma")
def _bracket_brace(w: Writer) -> Pair:
    name, a = w.words(2)
    return Pair(f'{name} = {{"{a}', '":', f'{name} = ["{a}', '",')


@_task("an input is opened to read, an output to write")
def _with_open(w: Writer) -> Pair:
    (kind,) = w.words(1)
    return Pair(f'with open("{kind}_input.txt", "', "r", f'with open("{kind}_output.txt", "', "w")


@_task("as many brackets are closed as were opened")
def _bracket_counting(w: Writer) -> Pair:
    (name,) = w.words(1)
    numbers = w.numbers()
    return Pair(f"{name} = [[{numbers}", "]]\n", f"{name} = [{numbers}", "]\n")


@_task("`in` follows the variable of a for loop")
def _for_while(w: Writer) -> Pair:
    (a,) = w.words(1)
    return Pair(f"for {a}", " in", f"while {a}", ":\n")


@_task("a condition follows elif, and none follows else")
def _else_elif(w: Writer) -> Pair:
    a, b = w.words(2)
    head = f"if {a} == {w.number()}:\n    {b} = {w.number()}\n"
    return Pair(f"{head}else", ":\n", f"{head}elif", f" {a}")


@_task("a brace follows in an f-string, the end in a plain one")
def _fstring_brace(w: Writer) -> Pair:
    (a,) = w.words(1)
    return Pair(f'print(f"{a}', " {", f'print("{a}', '")\n')


@_task("a colon follows an if statement, else an if expression")
def _if_ternary(w: Writer) -> Pair:
    a, b = w.words(2)
    return Pair(f"if {b}", ":\n", f"{a} = {w.number()} if {b}", " else")


@_task("two variables are swapped")
def _var_swap(w: Writer) -> Pair:
    a, b = w.words(2)
    return Pair(f"{a}, {b} = {b},", f" {a}", f"{b}, {a} = {a},", f" {b}")


@_task("what follows a for line is indented deeper")
def _indent_for(w: Writer) -> Pair:
    a, b = w.words(2)
    head = f"def {w.any(*FUNCTIONS)}({a}):\n    "
    return Pair(f"{head}for {b} in {a}:\n", "        print", f"{head}{b} = {a}\n", "    return")


@_task("a colon follows the argument of a lambda, a bracket the name of a function")
def _lambda_func(w: Writer) -> Pair:
    a, b = w.words(2)
    return Pair(f"{a} = lambda {b}", ":", f"def {b}", f"({a}")  # a bracket and a word may be one token


@_task("a condition compares, a statement sets")
def _if_equals(w: Writer) -> Pair:
    (a,) = w.words(1)
    return Pair(f"if {a}", " ==", f"{a}", " =")


@_task("two variables take from enumerate, one from range")
def _enumerate_range(w: Writer) -> Pair:
    (a,) = w.words(1)
    return Pair(f"for i, {a} in", " enumerate", f"for {a} in", " range")


@_task("a colon follows a comparison, the end of the line an assignment")
def _var_if(w: Writer) -> Pair:
    (a,) = w.words(1)
    truth = w.any("True", "False")
    return Pair(f"if {a} == {truth}", ":\n", f"{a} = {truth}", "\n")


@_task("a colon follows while True, the end of the line return True")
def _while_return_true(w: Writer) -> Pair:
    (a,) = w.words(1)
    head, truth = f"def {w.any(*FUNCTIONS)}({a}):\n    ", w.any("True", "False")
    return Pair(f"{head}while {truth}", ":\n", f"{head}return {truth}", "\n")
