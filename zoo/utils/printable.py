"""Names and messages as they may be printed: control characters are shown as escapes, never sent to a terminal."""

from unicodedata import category

LINES = "\n\t"  # what lays out a text of several lines, to be kept in messages and pages
HIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, surrogates, line and paragraph separators
DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # reorder the text that follows
RAW = range(0xDC80, 0xDD00)  # how Python keeps a byte of a file name that is not UTF-8


def printable(text: object, keep: str = "") -> str:
    r"""The text with control characters as escapes, such as "\x1b" and "\u202e"; a byte that is not UTF-8 as "\xff".

    Args:
        text: anything with a string, such as a path or an error.
        keep: characters to leave as they are, such as `LINES`.
    """
    shown = str(text)
    if shown.isprintable() and not DIRECTIONS.intersection(shown):
        return shown
    return "".join(c if c in keep or not (category(c) in HIDDEN or c in DIRECTIONS) else _escaped(c) for c in shown)


def _escaped(character: str) -> str:
    code = ord(character)
    if code in RAW:
        return f"\\x{code - 0xDC00:02x}"
    return repr(character)[1:-1] if category(character) == "Cc" else f"\\u{code:04x}"
