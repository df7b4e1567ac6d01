"""A classifier is taken apart where its linear head reads the mean of cells, and rebuilt from the names of layers."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from zoo.networks.take_apart import take_apart
from zoo.networks.trunks import Trunk, create_trunk


class Last(nn.Module):
    """Maps with channels last, an operation in place after the features, and logits in an object."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, stride=2), nn.LayerNorm(4)
        self.head = nn.Linear(4, 2, bias=False)

    def forward(self, x: Tensor) -> SimpleNamespace:
        cells = self.norm(self.conv(x).permute(0, 2, 3, 1))
        cells.relu_()
        return SimpleNamespace(logits=self.head(cells.mean((1, 2))))


def chain() -> nn.Sequential:
    features = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 2)).eval()


@pytest.mark.parametrize(
    ("network", "layer", "form"), [(chain(), "0", "map"), (chain(), "0.1", "map"), (Last(), "norm", "map_last")]
)
def test_head_of_the_mean_over_cells_gives_the_scores(network: nn.Module, layer: str, form: str) -> None:
    x = torch.randn(3, 3, 9, 13)
    parts = take_apart(network, x, 2, None if layer != "0.1" else layer)
    assert (parts.layer, parts.form, parts.cells) == (layer, form, 24)
    output = network(x)
    scores = output.logits if isinstance(network, Last) else output
    maps = Trunk(copy.deepcopy(network), parts.layer, parts.head, parts.form)(x)
    assert maps.shape == (3, 4, 4, 6)
    assert torch.allclose(maps.mean((2, 3)) @ parts.weight.T + parts.bias, scores, atol=1e-6)


def test_a_layer_that_the_head_does_not_average_is_refused() -> None:
    x = torch.randn(2, 3, 9, 9)
    with pytest.raises(ValueError, match=r"mean over the cells of '0.0'; it reads that of 0.1, 0\."):
        take_apart(chain(), x, 2, "0.0")
    with pytest.raises(ValueError, match="'body', which is not a layer of the network"):
        take_apart(chain(), x, 2, "body")
    with pytest.raises(ValueError, match=r"its last linear layer is '4' with 2 outputs"):
        take_apart(chain(), x, 5)
    with pytest.raises(ValueError, match=r"cannot read inputs \(2, 1, 9, 9\)"):
        take_apart(chain(), x[:, :1], 2)


def test_a_network_that_keeps_gradients_is_refused() -> None:
    network = chain()
    network.seen = network[0](torch.randn(1, 3, 9, 9))
    with pytest.raises(ValueError, match="Sequential cannot be copied"):
        take_apart(network, torch.randn(1, 3, 9, 9), 2)


def test_options_of_a_trunk() -> None:
    with pytest.raises(ValueError, match="needs the names of a layer and of the head"):
        create_trunk("torchvision:resnet18", {"layer": "network.layer4"})
    with pytest.raises(ValueError, match="ResNet has no layer 'layer5'"):
        create_trunk("torchvision:resnet18", {"layer": "network.layer5", "head": "network.fc"})
    with pytest.raises(ValueError, match=r"the network 'my\.py:make' is code of the user"):
        create_trunk("my.py:make", {"layer": "network.0", "head": "network.4"})
