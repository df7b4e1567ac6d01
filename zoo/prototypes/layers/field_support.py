"""Supports and boxes from receptive fields: the pixels that a unit can depend on, and no others."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from zoo.core.evidence import Unit
from zoo.domain import ImageDomain
from zoo.networks.image_backbones import Backbone
from zoo.prototypes.layers.image_input import require_grid
from zoo.utils.checks import check_choice
from zoo.utils.functional import at_least_fp32


@dataclass(frozen=True)
class Places:
    """How the activation of a unit is taken from its map, and where in the image the unit is shown."""

    pooling: str = "max"
    """"max": the largest cell. "sum": all cells, so that removing a cell removes exactly its share."""
    support: str = "map"
    """"map": the map itself, whose cells see more than they cover. "cell": the largest cell alone, which with `max` is
    the only one that counts. "field": the pixels that the activation depends on; needs a backbone whose receptive field
    is known."""

    def __post_init__(self) -> None:
        check_choice(("max", "sum"), pooling=self.pooling)
        check_choice(("map", "cell", "field"), support=self.support)
        if self.support == "cell" and self.pooling == "sum":
            raise ValueError("support: cell shows one cell, and pooling: sum adds all of them; choose support: map.")


class FieldSupport(nn.Module):
    """Turns maps on the cells of a backbone into supports on the pixels of the image.

    The support of a map m is Σ_cells m(cell) · field(cell), scaled to the map's largest value; field(cell) is 1 on the
    pixels that the cell depends on. A pixel with support 0 cannot change the cells in which the map is not 0.

    Args:
        backbone: whose receptive field is known, such as "convnet" or "bagnet".
        domain: of the images.
        model: its name, for error messages.

    Raises:
        ValueError: the receptive field is not known, or larger than the image, or the map is a single cell.
    """

    rows: Tensor  # (h, H), the pixels of a column of the image that each row of cells depends on
    columns: Tensor  # (w, W)

    def __init__(self, backbone: Backbone, domain: ImageDomain, model: str) -> None:
        super().__init__()
        field = backbone.receptive_field
        if field is None:
            raise ValueError(
                f"support: field of {model} needs a backbone whose receptive field is known, 'convnet' or 'bagnet'; "
                "choose one, or support: map."
            )
        if field.size > min(domain.size):
            raise ValueError(
                f"each cell of this backbone sees {field.size} pixels, more than the images, {domain.size[0]} x "
                f"{domain.size[1]}, so support: field would show the whole image; choose a smaller backbone."
            )
        grid = require_grid(backbone, domain, model)
        for name, cells, side in zip(("rows", "columns"), grid, domain.size, strict=True):
            self.register_buffer(name, field.covers(cells, side).float(), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, K, h, w) >= 0 to supports (B, K, H, W)."""
        spread = self.rows.T @ at_least_fp32(maps) @ self.columns
        most = maps.flatten(2).amax(2)[..., None, None]
        return spread * (most / spread.flatten(2).amax(2).clamp_min(torch.finfo(spread.dtype).tiny)[..., None, None])

    def boxes(self, cell: Tensor) -> Tensor:
        """Cells (N,), counted row by row, to the boxes (N, 4) that they depend on: top, left, bottom, right."""
        width = self.columns.shape[0]
        sides = []
        for lines, place in ((self.rows, cell // width), (self.columns, cell % width)):
            seen = lines[place] > 0
            sides.append((seen.to(torch.uint8).argmax(1), seen.shape[1] - seen.flip(1).to(torch.uint8).argmax(1)))
        (top, bottom), (left, right) = sides
        return torch.stack([top, left, bottom, right], 1)


class MapPooling(nn.Module):
    """Activations (B, K) and supports of units from their maps (B, K, h, w) >= 0, as `Places` says.

    Args:
        places: the options.
        backbone: of the model.
        domain: of the images.
        model: its name, for error messages.

    Raises:
        ValueError: see `FieldSupport`.
    """

    def __init__(self, places: Places, backbone: Backbone, domain: ImageDomain, model: str) -> None:
        super().__init__()
        self.places = places
        self.field = FieldSupport(backbone, domain, model) if places.support == "field" else None

    def forward(self, maps: Tensor) -> Tensor:
        """The activations (B, K)."""
        return maps.sum((2, 3)) if self.places.pooling == "sum" else maps.flatten(2).amax(2)

    def support(self, maps: Tensor) -> Tensor:
        """The supports: the maps, their largest cells, or (B, K, H, W) the pixels that the activations depend on."""
        if self.places.support == "cell":
            return winning_cells(maps)
        if self.field is None:
            return maps
        return self.field(maps if self.places.pooling == "sum" else winning_cells(maps))

    def placed(self, units: tuple[Unit, ...]) -> tuple[Unit, ...]:
        """The units; their source says so if their supports are all pixels that they depend on."""
        if self.field is None:
            return units
        return tuple(replace(unit, source={**unit.source, "support": "field"}) for unit in units)

    @property
    def published(self) -> bool:
        """Whether all options are those of the papers."""
        return self.places == Places()

    @property
    def boxes(self) -> Callable[[Tensor], Tensor] | None:
        """Gives the box of pixels that a cell depends on; None if that is not known."""
        return None if self.field is None else self.field.boxes


def winning_cells(maps: Tensor) -> Tensor:
    """Maps (B, K, h, w) with all cells set to 0 except the first largest of each map."""
    flat = maps.flatten(2)
    cell = flat.argmax(2, keepdim=True)
    return torch.zeros_like(flat).scatter(2, cell, flat.gather(2, cell)).view_as(maps)
