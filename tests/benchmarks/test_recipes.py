"""The page of the benchmark of recipes, and its data."""

import torch

from benchmarks.recipes import Maps, page
from zoo.data.base.items import Rows


def test_the_page_has_mean_and_deviation_of_each_recipe() -> None:
    runs = {str(seed): {"accuracy": 0.6 + 0.01 * seed, "formula_f1": 0.4, "seconds": 10 + seed} for seed in range(3)}
    lines = page({"LEN": {"test": runs, "validation": {"0": runs["0"]}}}).splitlines()
    assert "| LEN | [len_cub50](../configs/concepts/len_cub50.yaml) | 61.0 ± 1.0 | 60.0 (1 of 3 seeds) | 11 |" in lines
    assert any(line.startswith("| PIP-Net |") and line.endswith("| - | - | - |") for line in lines)
    assert any("formulas on the test images: 0.40 ± 0.00" in line for line in lines)


def test_items_are_an_image_one_of_its_views_or_both() -> None:
    maps = torch.arange(12.0).view(3, 2, 2, 1, 1).half()
    items = Rows(torch.zeros(3), torch.tensor([0, 1, 0]), ["a", "b", "c"])
    assert Maps(maps, items)[1]["input"].flatten().tolist() == [4, 5]
    assert {Maps(maps, items, 1)[1]["input"][0].item() for _ in range(40)} == {4, 6}
    pair = Maps(maps, items, 2)[2]
    assert pair["input"][0] == 8 and pair["view"][0] == 10 and pair["mirrored"] and pair["target"] == 0
