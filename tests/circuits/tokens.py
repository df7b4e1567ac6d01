"""A tiny language: a domain of tokens, and a task that a small network learns in seconds."""

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from tests.small_code import code_domain
from zoo.circuits import Choice, SparseTransformer
from zoo.circuits.network.optimizer import Schedule
from zoo.training.projection_set import ProjectionSet

LENGTH, FILLER = 12, 6


def transformer(**options) -> SparseTransformer:
    """An untrained network of two layers with weights that are not all but zero."""
    torch.manual_seed(0)
    small = {"width": 32, "layers": 2, "head_width": 8, "density": 0.25}
    model = SparseTransformer(code_domain(LENGTH), **{**small, **options}).eval()
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


def pairs(count: int, seed: int = 0) -> Choice:
    """Pairs of prompts that differ in their first token alone."""
    tokens = prompts(count, seed)[0][:, None].repeat(1, 2, 1)
    tokens[:, 0, 0], tokens[:, 1, 0] = 2, 3
    return Choice.of_pairs(tokens, torch.tensor([4, 5]).expand(count, 2))


def windows() -> ProjectionSet:
    """What the means are measured on."""
    return ProjectionSet(TensorDataset(*prompts(200, seed=1)))


def taught(steps: int = 150) -> SparseTransformer:
    """A network that has learned the task, and knows its means."""
    torch.manual_seed(0)
    model = SparseTransformer(code_domain(LENGTH), width=32, layers=2, head_width=8, density=0.25)
    optimizer = model.configure_optimizers()
    optimizer.param_groups[0]["lr"] = 1.28e-2
    optimizer.schedule = Schedule(steps, model.density, model.embedding_density)
    for optimizer.at in range(steps):
        tokens, answers = prompts(48, seed=100 + optimizer.at)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model.step(tokens)[0], answers).backward()
        optimizer.step()
    model.eval()
    model.average(windows())
    return model
