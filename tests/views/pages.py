"""Shared by the tests of pages: a strict reader of HTML, and explanations in which everything is there."""

from dataclasses import replace
from html.parser import HTMLParser

import torch
from torch import Tensor

from zoo.core.evidence import Unit
from zoo.core.explanation import Explanation
from zoo.domain import ImageDomain

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Read(HTMLParser):
    """Reads a page; fails at tags that are not balanced, and keeps attributes and texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def within(self, tag: str) -> list[str]:
        return [text for inside, text in self.texts if inside == tag]


def smooth(count: int, size: int) -> Tensor:
    """Pictures that compress like photographs: clouds with a little grain."""
    clouds = sum(
        torch.nn.functional.interpolate(torch.rand(count, 3, n, n), (size, size), mode="bicubic") / n**0.5
        for n in (4, 8, 16, 32)
    )
    grain = 0.02 * torch.randn(count, 3, size, size)
    return ((clouds / clouds.amax() + grain).clamp(0, 1) * 255).to(torch.uint8)


def explanation(rows: int = 2, units: int = 12, size: int = 32, **changes: object) -> Explanation:
    """An explanation of made-up evidence in which everything is there."""
    domain = ImageDomain(classes=("wren", "robin", "crow"), size=(size, size))
    contributions, bias = torch.randn(rows, units), torch.randn(rows)
    score = contributions.sum(1) + bias
    pictures = smooth(units, 16)
    source = {"image": "train/1.jpg", "box": [4, 4, 12, 12], "region": [0, 0, 16, 16]}
    whole = Explanation(
        scores=torch.stack([score, score - 1, score + 2], 1),
        target=torch.zeros(rows, dtype=torch.long),
        contributions=contributions,
        bias=bias,
        activation=torch.rand(rows, units) + 0.1,
        support=torch.rand(rows, units, 4, 4),
        units=tuple(Unit(f"wren #{k}", "prototype", 0, source, pictures[k]) for k in range(units)),
        domain=domain,
        inputs=domain.normalise(smooth(rows, size)),
    )
    return replace(whole, **changes)
