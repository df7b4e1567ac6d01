"""Prompts of code on a page: every token visible, none of them markup, the last one marked."""

import re
from html import unescape

import torch

from tests.small_code import code_domain
from zoo.views.code import code_prompt


def test_tokens_are_shown_one_by_one_and_the_last_is_marked() -> None:
    domain = code_domain(length=30, vocabulary=700)
    shown = code_prompt(domain, domain.preprocess("for item in value:\n    print"))
    inside = re.search("<pre>(.*)</pre>", shown, re.S)[1]
    tokens = [
        unescape(t).replace("<i>⏎</i>", "") for t in re.findall("<(?:span|mark)>(.*?)</(?:span|mark)>", inside, re.S)
    ]
    assert tokens == ["for", " item", " in", " value", ":\n", "   ", " print"]
    assert "<mark> print</mark>" in inside and inside.count("<mark>") == 1
    assert (
        "<span>:<i>⏎</i>\n</span>" in inside and "7 tokens; the model predicts the token after the marked one" in shown
    )


def test_code_is_no_markup() -> None:
    domain = code_domain(length=30, vocabulary=300)
    shown = code_prompt(domain, domain.preprocess("<b>&é"))
    assert "<b>" not in shown and "&lt;" in shown and "&amp;" in shown
    assert code_prompt(domain, torch.tensor([5] + [0] * 29)).count("<span>") == 0
