"""A code prompt, token by token."""

from torch import Tensor

from zoo.domain import CodeDomain
from zoo.views.markup import escape

END = "<i>⏎</i>\n"  # a visible end of line


def code_prompt(domain: CodeDomain, x: Tensor) -> str:
    """HTML of one prompt (T,): its tokens with alternating shades; the last one, which the scores follow, is marked."""
    *before, last = (escape(text).replace("\n", END) for text in domain.tokens(x))
    shown = "".join(f"<span>{text}</span>" for text in before)
    return (
        f"<figure class='input code'><pre>{shown}<mark>{last}</mark></pre>"
        f"<figcaption>{len(before) + 1} tokens; the model predicts the token after the marked one</figcaption></figure>"
    )
