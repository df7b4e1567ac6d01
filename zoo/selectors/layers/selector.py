"""The network of a selector: one logit for each element of an input."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo.domain import Domain, TableDomain
from zoo.networks.element_features import create_projection
from zoo.networks.elements import Elements
from zoo.networks.encoders import create_encoder


class Selector(nn.Module):
    """Logits (B, L) of the elements of an input; -inf for those that an input does not have, such as padding.

    A table is read by an encoder whose output has one logit for each feature; other inputs by an encoder with a map of
    features, fitted to the grid of the elements, of which each cell gives one logit.

    Args:
        spec: of the encoder, see `zoo.networks.encoders.create_encoder`.
        domain: of the inputs.
        elements: of the inputs.
        start: chance in (0, 1) of an element before training; None: as the layers are initialised.
    """

    def __init__(
        self, spec: str | Mapping[str, Any], domain: Domain, elements: Elements, start: float | None = None
    ) -> None:
        super().__init__()
        encoder = create_encoder(spec, domain)
        self.elements, self.whole = elements, isinstance(domain, TableDomain)
        self.features = encoder if self.whole else create_projection("auto", encoder, elements)
        self.score = nn.Linear(self.features.channels, elements.count if self.whole else 1)
        if start is not None:
            nn.init.constant_(self.score.bias, math.log(start / (1 - start)))

    def forward(self, x: Tensor) -> Tensor:
        logits = self.score(self.features(x))
        logits = logits if self.whole else logits[..., 0]
        present = self.elements.present(x)
        return logits if present is None else torch.where(present, logits, -torch.inf)
