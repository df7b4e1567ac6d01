"""The training of small networks that test a selection."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.training.batch import as_batch
from zoo.utils.progress import track


def train_network(
    network: nn.Module,
    scores: Callable[[Tensor], Tensor],
    batches: Iterable[Any],
    epochs: int,
    device: torch.device,
    counts: Tensor | None = None,
    title: str = "",
) -> None:
    """Trains a network by Adam with a rate that falls to 0; adds the labels of an epoch to `counts`."""
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    network.train()
    for epoch in track(range(epochs), title, shown=bool(title)):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - epoch / epochs)
        for batch in map(as_batch, batches):
            target = batch["target"].to(device)
            loss = F.cross_entropy(scores(batch["input"].to(device)), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if counts is not None and epoch == 0:
                counts += torch.bincount(target.cpu(), minlength=len(counts))
