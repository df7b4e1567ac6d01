"""Where evidence lies, by hand, and the page of the record."""

import pytest
import torch

from benchmarks.grounding import localised, page
from benchmarks.runs import HERE, read


def test_evidence_in_boxes_by_hand() -> None:
    """A map of 2 x 2 cells; the box covers the lower right one, and a strip of the upper right one."""
    maps = torch.tensor([[[[4.0, 1.0], [-9.0, 3.0]], [[9.0, 0.0], [0.0, 0.0]]]])  # of two concepts
    boxes = torch.tensor([[[0.6, 0.4, 0.3, 0.5], [torch.nan] * 4]])
    found = localised(maps, boxes, torch.tensor([[True, True]]))  # the second has no box
    assert found == pytest.approx({"pointing": 0.0, "chance": 0.5, "inside": (1 + 3) / 8})
    maps[0, 0, 1, 1] = 5.0
    assert localised(maps, boxes, torch.tensor([[True, False]]))["pointing"] == 1


def test_the_page_is_that_of_the_record() -> None:
    path = HERE / "GROUNDING.json"
    assert path.with_suffix(".md").read_text() == page(read(path))
