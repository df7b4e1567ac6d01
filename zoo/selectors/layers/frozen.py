"""Networks that pass gradients to their inputs but take none themselves."""

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F


def frozen(network: nn.Module, head: nn.Linear, x: Tensor) -> Tensor:
    """`head(network(x))` with all parameters held."""
    held = {name: value.detach() for name, value in network.named_parameters()}
    bias = None if head.bias is None else head.bias.detach()
    return F.linear(functional_call(network, held, (x,)), head.weight.detach(), bias)
