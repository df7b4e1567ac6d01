"""Tasks of two answers: which of two tokens follows, and how well a network, or a part of it, knows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.circuits.network.transformer import Ablation, SparseNetwork
from zoo.domain.text import PAD


@dataclass(frozen=True)
class Choice:
    """Prompts with a right and a wrong answer each.

    Attributes:
        tokens: (B, T), padded on the right with 0.
        right: (B,) token number of the right answer.
        wrong: (B,) of the wrong one.
    """

    tokens: Tensor
    right: Tensor
    wrong: Tensor

    @classmethod
    def of_pairs(cls, prompts: Tensor, answers: Tensor) -> "Choice":
        """Prompts (N, 2, T) with answers (N, 2): answer 0 is right after prompt 0 of a pair, answer 1 after prompt 1.

        Raises:
            ValueError: other shapes, or a pair whose answers are equal.
        """
        if prompts.ndim != 3 or prompts.shape[1] != 2 or answers.shape != prompts.shape[:2]:
            raise ValueError(
                f"expected prompts (N, 2, T) and answers (N, 2); got {tuple(prompts.shape)} and {tuple(answers.shape)}."
            )
        if bool((answers[:, 0] == answers[:, 1]).any()):
            raise ValueError("the two answers of a pair are the same token, so there is nothing to choose.")
        tokens = prompts.flatten(0, 1)
        tokens = tokens[:, : int((tokens != PAD).sum(1).max())]
        return cls(tokens, answers.flatten(), answers.flip(1).flatten())

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, which: Tensor | slice) -> "Choice":
        """Some of the prompts."""
        return Choice(self.tokens[which], self.right[which], self.wrong[which])

    def to(self, device: torch.device | str) -> "Choice":
        """The same on another device."""
        return Choice(self.tokens.to(device), self.right.to(device), self.wrong.to(device))


def margins(
    network: SparseNetwork, choice: Choice, ablation: Ablation | None = None, scales: Sequence[Tensor] | None = None
) -> Tensor:
    """(B,) logit of the right answer minus that of the wrong one."""
    logits = network.last_logits(choice.tokens, network.visit(ablation, scales=scales)).float()
    return (logits.gather(1, choice.right[:, None]) - logits.gather(1, choice.wrong[:, None]))[:, 0]


def task_loss(margin: Tensor) -> Tensor:
    """Mean two-way cross-entropy in nats a prompt, of margins (B,); chance is ln 2 = 0.693."""
    return F.softplus(-margin).mean()


@torch.no_grad()
def score(network: SparseNetwork, choice: Choice, ablation: Ablation | None = None) -> dict[str, float]:
    """Task loss and accuracy of a network, or of a part of it."""
    margin = margins(network, choice, ablation)
    return {"loss": task_loss(margin).item(), "accuracy": (margin > 0).float().mean().item()}


def calibrated(margin: Tensor, first: Tensor, steps: int = 16) -> float:
    """The task loss with the best scale, and shift towards one answer, of the margins: by L-BFGS.

    Pruned networks are not calibrated (Gao et al., appendix A.5).

    Args:
        margin: (B,).
        first: (B,) whether the right answer is the first of its pair, which the shift speaks for.
        steps: of L-BFGS.
    """
    margin, sign = margin.detach().double(), torch.where(first, 1.0, -1.0).to(margin.device).double()
    with torch.enable_grad():
        free = torch.tensor([1.0, 0.0], dtype=torch.double, device=margin.device, requires_grad=True)
        optimizer = torch.optim.LBFGS([free], max_iter=steps, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.softplus(-(free[0] * margin + free[1] * sign)).mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        return closure().item()
