"""The entropy head against an independent formula."""

import torch
from torch.nn import functional as F

from zoo.networks.entropy_head import EntropyHead


def test_attention_and_entropy_by_hand() -> None:
    head = EntropyHead(3, 2, hidden=4, temperature=0.7)
    alpha = (head.weight.abs().sum(1) / 0.7).softmax(1)
    torch.testing.assert_close(head.attention(), alpha / alpha.amax(1, keepdim=True))
    torch.testing.assert_close(head.entropy(), -(alpha * alpha.log()).sum(1).mean())
    x = torch.rand(5, 3)
    for c in range(2):
        hidden = F.leaky_relu((x * head.attention()[c]) @ head.weight[c].T + head.bias[c])
        torch.testing.assert_close(head(x)[:, c], hidden @ head.out[c] + head.offset[c])


def test_attention_does_not_overflow() -> None:
    head = EntropyHead(3, 1, hidden=2, temperature=1e-3)
    with torch.no_grad():
        head.weight.mul_(1e3)
    assert head.attention().isfinite().all() and head.entropy().isfinite()
