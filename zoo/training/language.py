"""Next-token prediction: positions, loss and metric that language models share."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric

from zoo.domain.text import PAD


def last_positions(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Row indices (B,) and positions (B,) of the last tokens of prompts (B, T) that are padded on the right."""
    return torch.arange(tokens.shape[0], device=tokens.device), (tokens != PAD).sum(1) - 1


def next_tokens(tokens: Tensor, target: Tensor) -> Tensor:
    """The token that follows at each position, (B, T), for windows (B, T) and the token (B,) after each window."""
    return torch.cat([tokens[:, 1:], target[:, None]], 1)


def language_loss(logits: Tensor, tokens: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of all next tokens in nats; positions that padding follows do not count.

    Args:
        logits: (B, T, V).
        tokens: (B, T).
        target: (B,), the token after each window.
    """
    following = next_tokens(tokens, target)
    return F.cross_entropy(logits.flatten(0, 1).float(), following.flatten(), ignore_index=PAD)


class Nats(nn.ModuleDict):
    """Mean language loss in nats per token of each split, "train", "val" and "test"."""

    def __init__(self) -> None:
        super().__init__({f"{split}_nats": MeanMetric() for split in ("train", "val", "test")})

    def record(self, split: str, loss: Tensor, count: int) -> MeanMetric:
        """Adds the loss of a batch of `count` windows and returns the metric of the split."""
        metric = self[f"{split}_nats"]
        assert isinstance(metric, MeanMetric)
        metric.update(loss.detach(), count)
        return metric
