"""Lists of modules of one type."""

from torch import nn

from zoo.utils.modules import TypedModuleList


def test_a_typed_list_is_a_module_list() -> None:
    layers = TypedModuleList([nn.Linear(2, 3), nn.Linear(3, 4)])
    assert isinstance(layers, nn.ModuleList) and len(layers) == 2
    assert [layer.out_features for layer in layers] == [3, 4] and layers[1].in_features == 3
    assert isinstance(layers[:1], TypedModuleList)
    assert list(layers.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
