"""The options of a class for `--help`, read from its source: importing it would take seconds."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from textwrap import fill

WIDTH = 100


@dataclass(frozen=True)
class Option:
    """An argument of a constructor as text.

    Attributes:
        name: of the argument.
        kind: its annotation, "" without one.
        default: source of its default; None if it is required.
        about: from the docstring.
    """

    name: str
    kind: str
    default: str | None
    about: str


def class_help(module: str, name: str, section: str, skip: tuple[str, ...] = ()) -> str:
    """Summary and options of a class, one paragraph for each.

    Args:
        module: where the class is defined.
        name: of the class.
        section: of the config, "model", "data" or "trainer".
        skip: arguments that no config gives.

    Raises:
        ValueError: there is no such class.
    """
    chain = list(ancestry(module, name))
    summary = (ast.get_docstring(chain[0][1]) or "").split("\n")[0]
    options: dict[str, Option] = {}
    passed_on = True  # whether the constructors so far hand further arguments to their parents
    for tree, node in chain:
        for option in options_of(tree, node):
            known = options.get(option.name)
            if known is None and passed_on:
                options[option.name] = option
            elif known is not None and not known.about:  # described by a parent only
                options[option.name] = replace(known, about=option.about)
        made = constructor(node)
        passed_on &= made is None or made.args.kwarg is not None
    head = f"{name}: {summary}" if summary else name
    return "\n".join([head, *(shown(o, section) for o in options.values() if o.name not in skip)])


def fields_help(module: str, name: str, skip: tuple[str, ...] = ()) -> str:
    """The fields of a dataclass as options, each described by the text below it."""
    _, node = next(ancestry(module, name))
    lines = []
    for field, text in zip(node.body, node.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(text, ast.Expr):
            continue
        default = None if field.value is None else ast.unparse(field.value)
        option = Option(ast.unparse(field.target), ast.unparse(field.annotation), default, ast.literal_eval(text.value))
        if option.name not in skip:
            lines.append(shown(option))
    return "\n".join(lines)


def shown(option: Option, section: str = "") -> str:
    """An option as indented text."""
    value = "required" if option.default is None else f"default {option.default}"
    kind = f"{option.kind}, " if option.kind else ""
    head = f"  --{section}{'.' if section else ''}{option.name}  ({kind}{value})"
    about = fill(option.about, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"{head}\n{about}" if about else head


def ancestry(module: str, name: str) -> Iterator[tuple[ast.Module, ast.ClassDef]]:
    """A class and its parents within the same package, each with the source of its module.

    Raises:
        ValueError: the module has no such class.
    """
    tree = source(module)
    node = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name), None)
    if node is None:
        raise ValueError(f"{module} has no class '{name}'.")
    yield tree, node
    if node.bases and isinstance(node.bases[0], ast.Name):
        parent = node.bases[0].id
        places = {a.asname or a.name: n.module for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
        home = places.get(parent) or module
        if home.split(".")[0] == module.split(".")[0] and (home, parent) != (module, name):
            yield from ancestry(home, parent)


def source(module: str) -> ast.Module:
    """The parsed source of a module, which is not imported, nor are the packages above it.

    Raises:
        ValueError: there is no source.
    """
    top, *below = module.split(".")
    spec = find_spec(top)
    places = [Path(p) for p in (spec and spec.submodule_search_locations) or []]
    files = [place.joinpath(*below) for place in places]
    found = [file.with_suffix(".py") for file in files if below] + [file / "__init__.py" for file in files]
    found += [Path(spec.origin)] if spec and spec.origin and not below else []
    path = next((path for path in found if path.is_file()), None)
    if path is None:
        raise ValueError(f"no source of the module '{module}'.")
    return ast.parse(path.read_text(encoding="utf-8"))


def constructor(node: ast.ClassDef) -> ast.FunctionDef | None:
    """The `__init__` of a class."""
    return next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)


def options_of(tree: ast.Module, node: ast.ClassDef) -> list[Option]:
    """The arguments of the constructor that a class defines itself; none if it defines none."""
    made = constructor(node)
    if made is None:
        return []
    about, constants = paragraphs(ast.get_docstring(node)) | paragraphs(ast.get_docstring(made)), constants_of(tree)
    given = made.args
    plain = given.args[1:]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    pairs = [*zip(plain, defaults, strict=True), *zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    return [
        Option(
            argument.arg,
            ast.unparse(argument.annotation) if argument.annotation else "",
            default_of(argument.arg, default, node, constants),
            about.get(argument.arg, ""),
        )
        for argument, default in pairs
    ]


def default_of(name: str, default: ast.expr | None, node: ast.ClassDef, constants: dict[str, str]) -> str | None:
    """The default of an argument as text; for a recipe that of the class, for a constant its value."""
    if default is None:
        return None
    text = ast.unparse(default)
    if name == "recipe":
        names = {ast.unparse(n.targets[0]): n.value for n in node.body if isinstance(n, ast.Assign)}
        text = ast.unparse(names["default_recipe"]) if "default_recipe" in names else text
    return constants.get(text, text)


def constants_of(tree: ast.Module) -> dict[str, str]:
    """The values that a module assigns to names, as text on one line."""
    return {
        ast.unparse(n.targets[0]): " ".join(ast.unparse(n.value).split())
        for n in tree.body
        if isinstance(n, ast.Assign)
    }


def paragraphs(docstring: str | None) -> dict[str, str]:
    """The descriptions below `Args:` of a docstring, by argument, each on one line."""
    _, _, section = (docstring or "").partition("\nArgs:\n")
    section = re.split(r"\n\S", section, maxsplit=1)[0]
    parts = re.split(r"^ {4}(\*{0,2}\w+): ", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in zip(parts[1::2], parts[2::2], strict=True)}
