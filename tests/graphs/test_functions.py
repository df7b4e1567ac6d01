"""Functions of numbers that occur often are computed once for each number, with the same values and gradients."""

import torch

from zoo.graphs.layers.functions import Functions


def test_numbers_that_occur_often_give_the_same_values_and_gradients() -> None:
    torch.manual_seed(0)
    functions = Functions(3, 8, 2).double()
    x = torch.randint(0, 5, (40, 3)).double()
    once = functions(x)
    alone = torch.stack([functions(torch.cat([row, torch.randn(1, 3).double()]))[0] for row in x[:, None]])
    torch.testing.assert_close(once, alone)
    weights = torch.randn_like(once)
    found = torch.autograd.grad((once * weights).sum(), list(functions.parameters()))
    known = torch.autograd.grad((alone * weights).sum(), list(functions.parameters()))
    for a, b in zip(found, known, strict=True):
        torch.testing.assert_close(a, b)
