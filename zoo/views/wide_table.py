"""Tables as wide as the page: columns of names, then columns of numbers."""

from collections.abc import Sequence

STYLE = (
    ".zoo table{max-width:none}.zoo .scroll{overflow-x:auto}"
    ".zoo td.name{text-align:left;padding-left:0;padding-right:10px;white-space:normal;overflow-wrap:anywhere}"
    ".zoo th[scope=col]{color:var(--soft);font-size:.8rem;vertical-align:bottom}"
    ".zoo th.number{text-align:right;padding:2px 0 2px 10px}"
)


def wide_table(names: Sequence[str], numbers: Sequence[str], rows: str) -> str:
    """The table.

    Args:
        names: heads of the columns of names, whose cells have the class "name".
        numbers: heads of the columns after them.
        rows: HTML of the rows.
    """
    heads = "".join(f"<th scope='col'>{text}</th>" for text in names)
    heads += "".join(f"<th scope='col' class='number'>{text}</th>" for text in numbers)
    return f"<div class='scroll'><table><tr>{heads}</tr>{rows}</table></div>"
