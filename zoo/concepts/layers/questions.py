"""Fixed questions about inputs: what happens if a part is replaced?"""

import torch
from torch import Tensor, nn

from zoo.domain import Domain, TextDomain
from zoo.domain.text import PAD, UNKNOWN
from zoo.training.projection_set import ProjectionSet

SIDE = 3  # an image has SIDE x SIDE blocks, other inputs as many parts
READ = ("image", "series", "table", "text")


class Questions(nn.Module):
    """Replaces each of some parts of an input: blocks of an image, spans of a series or text, sets of features.

    Of images, series and tables the mean of the training set stands in place of a part, for each channel, variable or
    feature. Of texts a part is asked about once with its tokens unknown, and once with each of some words in their
    place.

    Buffer: `fill`, the means.

    Args:
        domain: of the inputs.
        swaps: words of the vocabulary, for texts alone.

    Attributes:
        parts: number of parts.
        count: Q, number of questions: `parts` for each thing put in place.

    Raises:
        ValueError: another modality, or words that the domain does not know.
    """

    fill: Tensor

    def __init__(self, domain: Domain, swaps: tuple[str, ...] = ()) -> None:
        super().__init__()
        if domain.modality not in READ:
            raise ValueError(f"questions are about parts of {', '.join(READ)}; got a domain of {domain.noun}.")
        self.domain, self.words = domain, [UNKNOWN]
        if swaps and not isinstance(domain, TextDomain):
            raise ValueError(f"swaps are words, and the inputs are {domain.noun}; leave swaps out.")
        for word in swaps:
            number = self._number(word)
            if number is None:
                raise ValueError(f"swaps names '{word}', which is not a word of the vocabulary; choose another.")
            self.words.append(number)
        size = domain.shape[-1] if domain.modality == "table" else domain.shape[0]
        self.parts = SIDE**2 if domain.modality in ("image", "text") else min(SIDE**2, size)
        self.count = self.parts * (len(self.words) if domain.modality == "text" else 1)
        shapes = {"image": (domain.shape[0], 1, 1), "series": (1, domain.shape[-1]), "table": domain.shape}
        self.register_buffer("fill", torch.zeros(shapes.get(domain.modality, ())))

    def _number(self, word: str) -> int | None:
        assert isinstance(self.domain, TextDomain)
        return next((n for n in range(UNKNOWN + 1, self.domain.size) if self.domain.token(n) == word), None)

    @property
    def names(self) -> list[str]:
        """Each question in words."""
        kind = {"image": "block", "text": "span", "series": "span", "table": "columns"}[self.domain.modality]
        if not isinstance(self.domain, TextDomain):
            return [f"{kind} {p + 1} at its mean" for p in range(self.parts)]
        told = ["unknown", *(f"'{self.domain.token(n)}'" for n in self.words[1:])]
        return [f"{kind} {p + 1} {what}" for what in told for p in range(self.parts)]

    def measure(self, projection_set: ProjectionSet) -> None:
        """Measures what is put in place of a part."""
        if self.domain.modality == "text":
            return
        total, count = torch.zeros_like(self.fill, dtype=torch.double), 0
        over = {"image": (0, 2, 3), "series": (0, 1), "table": (0,)}[self.domain.modality]
        for batch in projection_set:
            x = batch["input"].double()
            total += x.sum(over).view(total.shape)
            count += x.numel() // total.numel()
        self.fill.copy_(projection_set.total(total) / projection_set.total(total.new_tensor(float(count))))

    def part_of(self, x: Tensor) -> Tensor:
        """The part that each element belongs to: (H, W), (T, 1), (F,), or of texts (B, T) with -1 for padding."""
        shape = x.shape[1:]
        if self.domain.modality == "image":
            rows, columns = (torch.arange(size, device=x.device) * SIDE // size for size in shape[1:])
            return rows[:, None] * SIDE + columns
        if self.domain.modality == "text":
            words = x != PAD
            length = words.sum(1, keepdim=True).clamp_min(1)
            return ((words.cumsum(1) - 1) * self.parts // length).masked_fill(~words, -1)
        part = torch.arange(shape[0], device=x.device) * self.parts // shape[0]
        return part if self.domain.modality == "table" else part[:, None]

    def ask(self, x: Tensor, question: int) -> Tensor:
        """Inputs (B, *shape) in which a part is replaced."""
        there = self.part_of(x) == question % self.parts
        if self.domain.modality == "text":
            return torch.where(there, self.words[question // self.parts], x)
        return torch.where(there, self.fill.to(x), x)

    def pooled(self, features: Tensor, share: Tensor | None, grid: tuple[int, ...], x: Tensor) -> Tensor:
        """Features (B, P, d) of cells as the means over each part, (B, parts, d), 0 where a part has no cell.

        Args:
            features: of the cells.
            share: (B, P) above 0 for cells that count; None: all.
            grid: shape of the cells.
            x: the inputs.
        """
        if self.domain.modality == "text":
            part = self.part_of(x)
        else:
            sides = [torch.arange(size, device=x.device) for size in grid]
            if len(grid) == 2:
                part = (sides[0] * SIDE // grid[0])[:, None] * SIDE + sides[1] * SIDE // grid[1]
            else:
                part = sides[0] * self.parts // grid[0]
            part = part.flatten()[None]
        here = part[:, None] == torch.arange(self.parts, device=x.device)[:, None]  # (B or 1, parts, P)
        if share is not None:
            here = here & (share > 0)[:, None]
        weight = here.to(features)
        return weight / weight.sum(2, keepdim=True).clamp_min(1) @ features
