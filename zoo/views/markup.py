"""Text in HTML."""

from html import escape as escape_markup

from zoo.utils.printable import LINES, printable


def escape(text: object) -> str:
    """Text for HTML and for quoted attributes; control characters are shown as escapes, except line breaks and tabs."""
    return escape_markup(printable(text, keep=LINES))
