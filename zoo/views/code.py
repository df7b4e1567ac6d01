"""A prompt of source code, token by token, as part of a page."""

from html import escape

from torch import Tensor

from zoo.domain import CodeDomain

END = "<i>⏎</i>\n"  # of a line, to be seen as a part of its token


def code_prompt(domain: CodeDomain, x: Tensor) -> str:
    """HTML of one prompt (T,): its tokens, every second one shaded, and the last one marked, which is read from."""
    *before, last = (escape(text).replace("\n", END) for text in domain.tokens(x))
    shown = "".join(f"<span>{text}</span>" for text in before)
    return (
        f"<figure class='input code'><pre>{shown}<mark>{last}</mark></pre>"
        f"<figcaption>{len(before) + 1} tokens; the answer is what follows the marked one</figcaption></figure>"
    )
