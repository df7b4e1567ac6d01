"""Names of units with the values that they read: "age = 39" for the unit "age" of a table, "word 2: warm" of a text."""

from torch import Tensor

from zoo.core.explanation import Explanation, Term
from zoo.core.places import places_of
from zoo.core.regions import REGION
from zoo.domain import GraphDomain, TableDomain, TextDomain

WIDEST = 3  # columns of a unit that is named after them
LONGEST = 5  # words of a region that is named with them


def name_of(term: Term, one: Explanation) -> str:
    """The name of a unit, with what it reads: the word of a text, the raw values of the columns it is named after.

    Args:
        term: of the explanation.
        one: explanation of one input.
    """
    name, domain = term.unit.name, one.domain
    if isinstance(domain, TextDomain) and one.inputs is not None and name == f"word {term.index + 1}":
        word = _word(one, domain, one.inputs[0].cpu(), term.index)
        return f"{name}: {word}" if word else name
    if isinstance(domain, TextDomain) and term.unit.kind == REGION and one.inputs is not None:
        return _phrase(term, one, domain, one.inputs[0])
    if isinstance(domain, GraphDomain) and one.inputs is not None and term.unit.kind == "node":
        graph = domain.graph(one.inputs[0], one.texts[0] if one.texts else "")
        named = dict(zip(graph.nodes, graph.names, strict=True)).get(term.index, str(term.index))
        if domain.radius is not None:
            return f"node {named}{'' if term.index else ' (asked about)'}"
        return name if named == str(term.index) else f"{name}: {named}"
    if not isinstance(domain, TableDomain) or one.inputs is None or one.support is None:
        return name
    support = one.support[0, term.index].cpu()
    columns = domain.columns_of(support) if support.shape == domain.shape else []
    if not 0 < len(columns) <= WIDEST or not _is_named_after(name, columns):
        return name
    cells = domain.cells(one.inputs[0])
    return ", ".join(f"{column} = {cells[column]}" for column in columns)


def _word(one: Explanation, domain: TextDomain, x: Tensor, number: int) -> str:
    """The word of that number in a text x (T,), its subwords joined; "" if the text has fewer words."""
    if not domain.tokenizer:
        words = domain.words(x)
        return words[number] if number < len(words) else ""
    tokens, _ = domain.tokens(x, one.texts[0] if one.texts else "")
    owners = [owner for owner in domain.word_numbers(x[None])[0].tolist() if owner >= 0]
    return "".join(token.text for token, owner in zip(tokens, owners, strict=True) if owner == number)


def _phrase(term: Term, one: Explanation, domain: TextDomain, x: Tensor) -> str:
    """The name of a region of a text x (T,) with its strongest words; without them if they are many or none."""
    assert one.support is not None
    found = places_of([term.unit], one.support[0, [term.index]].cpu(), domain, x, one.texts[0] if one.texts else "")
    words = found[0]["words"]
    return f"{term.unit.name}: {' '.join(words)}" if 0 < len(words) <= LONGEST else term.unit.name


def _is_named_after(name: str, columns: list[str]) -> bool:
    """Whether a name consists of the names of columns and signs between them."""
    for column in sorted(columns, key=len, reverse=True):
        if column not in name:
            return False
        name = name.replace(column, "", 1)
    return not any(character.isalnum() for character in name.replace(" x ", ""))
