"""Units are built again only after a change of what describes them."""

import copy

import torch

from zoo.core.evidence import Unit
from zoo.core.unit_cache import UnitCache


def test_units_are_built_again_after_a_change_in_place() -> None:
    cache, tensor, built = UnitCache(), torch.zeros(2), []

    def build() -> list[Unit]:
        built.append(1)
        return [Unit(f"unit {value}", "concept") for value in tensor.tolist()]

    first = cache.get([tensor], build)
    assert cache.get([tensor], build) is first and len(built) == 1
    tensor[1] = 5
    assert [unit.name for unit in cache.get([tensor], build)] == ["unit 0.0", "unit 5.0"]


def test_a_copy_of_a_copy_has_its_own_units() -> None:
    """Copied tensors start from the same version, so a copied cache took old units for new ones."""
    cache, tensor = UnitCache(), torch.zeros(2)
    cache.get([tensor], lambda: [Unit("old", "concept")])
    again = copy.deepcopy({"cache": cache, "tensor": tensor})
    assert again["cache"].get([again["tensor"]], lambda: [Unit("new", "concept")])[0].name == "new"
