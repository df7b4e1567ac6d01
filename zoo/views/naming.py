"""Names of units with the values that they read: "age = 39" for the unit "age" of a table."""

from zoo.core.explanation import Explanation, Term
from zoo.domain import TableDomain

WIDEST = 3  # columns of a unit that is named after them


def name_of(term: Term, one: Explanation) -> str:
    """The name of a unit; of one that is named after the columns it reads, the columns with their raw values.

    Args:
        term: of the explanation.
        one: explanation of one input.
    """
    name, domain = term.unit.name, one.domain
    if not isinstance(domain, TableDomain) or one.inputs is None or one.support is None:
        return name
    support = one.support[0, term.index].cpu()
    columns = domain.columns_of(support) if support.shape == domain.shape else []
    if not 0 < len(columns) <= WIDEST or not _is_named_after(name, columns):
        return name
    cells = domain.cells(one.inputs[0])
    return ", ".join(f"{column} = {cells[column]}" for column in columns)


def _is_named_after(name: str, columns: list[str]) -> bool:
    """Whether a name consists of the names of columns and signs between them."""
    for column in sorted(columns, key=len, reverse=True):
        if column not in name:
            return False
        name = name.replace(column, "", 1)
    return not any(character.isalnum() for character in name.replace(" x ", ""))
