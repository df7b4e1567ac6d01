"""Boxes of concepts, and training pictures that are cropped to one of them."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from zoo.utils.checks import check_between
from zoo.utils.csv_files import TableRow, read_table
from zoo.utils.errors import did_you_mean

SIDES = ("left", "top", "width", "height")
SEEN, PARTLY = 0.5, 0.0  # shares of a box within the crop, above which its concept is present, or unknown


class ConceptCrops:
    """Crops a training picture, with a probability, to the box of one of its concepts.

    "Crop-to-concept augmentation", Srivastava, Yan, Weng: "VLG-CBM: Training Concept Bottleneck Models with
    Vision-Language Guidance", NeurIPS 2024, arXiv 2408.01432: what a concept is recognised by must be in its box.

    The concept is drawn uniformly from those that are present and have a box. A crop has all concepts of which at least
    half of the box lies in it; those of which a smaller part does, and those without a box, are unknown (NaN); all
    others are absent. Of a box that reaches beyond the picture, the part within counts.

    Differs from the published code: concepts that share the crop are present or unknown (there: absent). Boxes are
    annotated (there: found by a detector for texts).

    Args:
        boxes: (N, k, 4) left, top, width and height in pixels of the picture, NaN where a concept has no box.
        share: probability of a crop, in [0, 1].
        smallest: shortest side of a crop, as a share of that of the picture, in [0, 1]; smaller boxes are widened.

    Raises:
        ValueError: a share out of range, or boxes of another shape.
    """

    def __init__(self, boxes: Tensor, share: float, smallest: float = 0.0) -> None:
        check_between(0, 1, share=share, smallest=smallest)
        if boxes.ndim != 3 or boxes.shape[2] != len(SIDES):
            raise ValueError(f"expected boxes (N, k, 4) of {', '.join(SIDES)}; got {tuple(boxes.shape)}.")
        self.boxes, self.share, self.smallest = boxes, share, smallest

    def __call__(self, i: int, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """A picture (C, H, W) and its labels (k,), as they are or cropped.

        Args:
            i: number of the picture.
            pixels: of the picture.
            labels: in {0, 1, NaN}.

        Raises:
            ValueError: the box lies outside of the picture.
        """
        wide, crop = torch.rand(2).tolist()
        shown = ((labels == 1) & self.boxes[i].isfinite().all(1)).nonzero()[:, 0]
        if wide >= self.share or not len(shown):
            return pixels, labels
        chosen = int(shown[min(int(crop * len(shown)), len(shown) - 1)])
        box = self.boxes[i, chosen]
        height, width = pixels.shape[-2:]
        size = torch.tensor([width, height])
        if not bool(((box[:2] < size) & (box[:2] + box[2:] > 0)).all()):
            where = ", ".join(f"{value:g}" for value in box.tolist())
            raise ValueError(
                f"the box {where} ({', '.join(SIDES)}) of picture {i} lies outside of its {width} x {height} pixels; "
                "boxes are in pixels of the image file."
            )
        within = visible(self.boxes[i], height, width)
        left, top, right, bottom = edges = self.edges(within[chosen], height, width)
        return F.crop(pixels, top, left, bottom - top, right - left), self.labels(within, labels, edges)

    def edges(self, box: Tensor, height: int, width: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the crop in whole pixels, at least one pixel within the picture."""
        found: list[tuple[int, int]] = []
        for start, size, side in zip(box[:2].tolist(), box[2:].tolist(), (width, height), strict=True):
            least = max(size, self.smallest * side, 1.0)
            low = min(max(start + (size - least) / 2, 0.0), side - min(least, side))
            first = min(int(low), side - 1)
            found.append((first, max(first + 1, min(side, round(low + least)))))
        (left, right), (top, bottom) = found
        return left, top, right, bottom

    def labels(self, boxes: Tensor, labels: Tensor, edges: tuple[int, int, int, int]) -> Tensor:
        """What a crop of a picture with these boxes (k, 4) shows, (k,) in {0, 1, NaN}."""
        crop = torch.tensor(edges, dtype=boxes.dtype)
        overlap = torch.minimum(boxes[:, :2] + boxes[:, 2:], crop[2:]) - torch.maximum(boxes[:, :2], crop[:2])
        inside = overlap.clamp_min(0).prod(1) / boxes[:, 2:].prod(1)  # (k,), NaN without a box
        present = torch.where(inside >= SEEN, 1.0, torch.where(inside > PARTLY, torch.nan, 0.0))
        present = torch.where(inside.isnan(), torch.nan, present)
        return torch.where(labels == 1, present.to(labels), labels)


def visible(boxes: Tensor, height: int, width: int) -> Tensor:
    """The parts of boxes (k, 4) that lie within a picture; NaN where there is none."""
    size = torch.tensor([width, height])
    low, high = boxes[:, :2].clamp_min(0), (boxes[:, :2] + boxes[:, 2:]).minimum(size)
    return torch.cat([low, high - low], 1).masked_fill((high <= low).any(1, keepdim=True), torch.nan)


def read_boxes(path: Path, root: Path, files: Sequence[Path], names: Sequence[str]) -> Tensor:
    """Reads boxes from a CSV with the columns path, concept, left, top, width and height, in pixels of the image.

    Args:
        path: of the CSV.
        root: folder to which the paths in it are relative.
        files: the N images; rows of others are ignored.
        names: of the k concepts.

    Returns:
        (N, k, 4), NaN where there is no box; of several boxes of one concept the box around all of them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a cell is wrong; names the file, the line and the remedy.
    """
    table = read_table(path, ["path", "concept", *SIDES], "table of boxes")
    rows, columns = (
        {Path(os.path.normpath(file)): i for i, file in enumerate(files)},
        {name: j for j, name in enumerate(names)},
    )
    edges = torch.full((len(files), len(names), 4), torch.nan)
    for row in table.rows:
        concept, file = row.cells["concept"].strip(), Path(os.path.normpath(root / row.cells["path"].strip()))
        if concept not in columns:
            raise ValueError(f"{row.where}: no concept named '{concept}'; {did_you_mean(concept, columns)}")
        if file not in rows:
            if not file.is_file():
                raise ValueError(f"{row.where}: no image {file}. Correct the path, or remove the row.")
            continue
        left, top, width, height = _numbers(row)
        cell = edges[rows[file], columns[concept]]
        torch.fmin(cell[:2], torch.tensor([left, top]), out=cell[:2])
        torch.fmax(cell[2:], torch.tensor([left + width, top + height]), out=cell[2:])
    if not edges.isfinite().any():
        raise ValueError(f"{path} has no box for any of the {len(files)} images; its paths are relative to {root}.")
    return torch.cat([edges[..., :2], edges[..., 2:] - edges[..., :2]], 2)


def _numbers(row: TableRow) -> list[float]:
    values = [row.number(side) for side in SIDES]
    if min(values[:2]) < 0 or min(values[2:]) <= 0:
        shown = ", ".join(f"{value:g}" for value in values)
        raise ValueError(
            f"{row.where}: expected left and top of at least 0, and width and height above 0; got {shown}."
        )
    return values
