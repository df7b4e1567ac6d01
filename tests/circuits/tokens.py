"""A tiny language: a domain of tokens, and a task that a small network learns in seconds."""

import copy

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from tests.small_code import code_domain
from zoo.circuits import SparseTransformer, TokenPairTask
from zoo.circuits.network.schedule import Schedule
from zoo.training.projection_set import ProjectionSet

LENGTH, FILLER = 12, 6


def transformer(
    width: int = 32, density: float = 0.25, activation_density: float = 0.25, **options
) -> SparseTransformer:
    """An untrained model of two layers, with weights large enough for a test."""
    torch.manual_seed(0)
    sparsity = {"density": density, "activation_density": activation_density}
    model = SparseTransformer(code_domain(LENGTH), width, 2, 8, sparsity=sparsity, **options).eval()
    with torch.no_grad():
        for name, p in model.network.named_parameters():
            p.mul_(1 if "norm" in name else 5)
    return model


def prompts(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(count, T) random tokens that begin with token 2 or 3, and the answers, 4 or 5, that follow from it."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(FILLER + 1, 30, (count, LENGTH), generator=draw)
    first = torch.randint(0, 2, (count,), generator=draw)
    tokens[:, 0], tokens[:, -1] = 2 + first, FILLER
    return tokens, 4 + first


def pairs(count: int, seed: int = 0) -> TokenPairTask:
    """Pairs of prompts that differ in their first token alone."""
    tokens = prompts(count, seed)[0][:, None].repeat(1, 2, 1)
    tokens[:, 0, 0], tokens[:, 1, 0] = 2, 3
    return TokenPairTask.of_pairs(tokens, torch.tensor([4, 5]).expand(count, 2))


def windows() -> ProjectionSet:
    """Windows for the means of the nodes."""
    return ProjectionSet(TensorDataset(*prompts(200, seed=1)))


def disturbed(model: SparseTransformer, mask: Tensor) -> tuple[SparseTransformer, Tensor]:
    """A copy of a model in which the neurons of layer 1 write noise, and logits (L, N) below 0 at these neurons.

    The other nodes of a `mask` have the largest logits.
    """
    other, part = copy.deepcopy(model), model.network.layout.part("mlp_neuron")
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        weight = other.network.blocks[1].down.weight
        mean = torch.nn.functional.normalize(model.means[1, part], dim=0)
        noise = 100 * torch.randn(weight.shape, generator=draw)
        weight.copy_(noise - noise @ mean[:, None] * mean)  # at their means, the neurons write nothing
    logits = torch.rand(model.means.shape, generator=draw) + mask
    logits[1, part] = -1
    return other, logits


def taught(steps: int = 150) -> SparseTransformer:
    """A model that has learned the task, with measured means."""
    torch.manual_seed(0)
    model = SparseTransformer(code_domain(LENGTH), width=32, layers=2, head_width=8, sparsity={"density": 0.25})
    optimizer = model.configure_optimizers()
    optimizer.param_groups[0]["lr"] = 1.28e-2
    optimizer.schedule = Schedule(steps, model.density, model.embedding_density)
    for optimizer.step_index in range(steps):
        tokens, answers = prompts(48, seed=100 + optimizer.step_index)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model.step(tokens)[0], answers).backward()
        optimizer.step()
    model.eval()
    model.average(windows())
    return model
