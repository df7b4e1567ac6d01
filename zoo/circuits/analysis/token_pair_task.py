"""Token-pair tasks: which of two tokens follows a prompt, and how well a network or a circuit predicts it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.circuits.network.trace import Ablation, Trace
from zoo.circuits.network.transformer import SparseNetwork
from zoo.domain.text import PAD


@dataclass(frozen=True)
class TokenPairTask:
    """Prompts, each with a right and a wrong next token.

    Attributes:
        tokens: (B, T), padded on the right with 0.
        right: (B,), the right answer.
        wrong: (B,), the wrong answer.
    """

    tokens: Tensor
    right: Tensor
    wrong: Tensor

    @classmethod
    def of_pairs(cls, prompts: Tensor, answers: Tensor) -> "TokenPairTask":
        """Builds a task from pairs of prompts; the right answer of each prompt is the wrong one of its partner.

        Args:
            prompts: (N, 2, T).
            answers: (N, 2), the right answer of each prompt.

        Returns:
            Task of 2 N prompts; the two prompts of a pair are adjacent.

        Raises:
            ValueError: other shapes, or a pair whose answers are equal.
        """
        if prompts.ndim != 3 or prompts.shape[1] != 2 or answers.shape != prompts.shape[:2]:
            raise ValueError(
                f"expected prompts (N, 2, T) and answers (N, 2); got {tuple(prompts.shape)} and {tuple(answers.shape)}."
            )
        if bool((answers[:, 0] == answers[:, 1]).any()):
            raise ValueError("the two answers of a pair are the same token; give pairs with different answers.")
        tokens = prompts.flatten(0, 1)
        tokens = tokens[:, : int((tokens != PAD).sum(1).max())]
        return cls(tokens, answers.flatten(), answers.flip(1).flatten())

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, which: Tensor | slice) -> "TokenPairTask":
        """Some of the prompts."""
        return TokenPairTask(self.tokens[which], self.right[which], self.wrong[which])

    def to(self, device: torch.device | str) -> "TokenPairTask":
        """The task on another device."""
        return TokenPairTask(self.tokens.to(device), self.right.to(device), self.wrong.to(device))

    def logit_difference(self, logits: Tensor) -> Tensor:
        """Logit of the right answer minus that of the wrong one, (B,), for logits (B, V)."""
        return (logits.gather(1, self.right[:, None]) - logits.gather(1, self.wrong[:, None]))[:, 0]


def logit_differences(network: SparseNetwork, task: TokenPairTask, trace: Trace | None = None) -> Tensor:
    """Logit differences (B,) of a network on a task, in a pass `trace`; by default without ablation."""
    logits = network.last_logits(task.tokens, network.trace() if trace is None else trace)
    return task.logit_difference(logits.float())


def task_loss(difference: Tensor) -> Tensor:
    """Mean two-way cross-entropy in nats per prompt, of logit differences (B,); chance is ln 2 = 0.693."""
    return F.softplus(-difference).mean()


def scores_of(difference: Tensor) -> dict[str, float]:
    """Task loss and accuracy of logit differences (B,), and both for the answer of a pair that is predicted worse.

    A network that always gives the same answer has an accuracy of 0.5 and a `worst_accuracy` of 0.
    """
    sides = [side for side in (difference[::2], difference[1::2]) if len(side)]
    return {
        "loss": task_loss(difference).item(),
        "accuracy": _accuracy(difference),
        "worst_loss": max(task_loss(side).item() for side in sides),
        "worst_accuracy": min(_accuracy(side) for side in sides),
    }


def _accuracy(difference: Tensor) -> float:
    return (difference > 0).float().mean().item()


@torch.no_grad()
def evaluate_task(network: SparseNetwork, task: TokenPairTask, ablation: Ablation | None = None) -> dict[str, float]:
    """Scores of a network, optionally ablated, see `scores_of`."""
    return scores_of(logit_differences(network, task, network.trace(ablation)))


def calibrated_loss(difference: Tensor, first: Tensor, steps: int = 16) -> float:
    """Task loss after fitting a scale of the logit differences, and a shift towards one answer, by L-BFGS.

    Pruned networks are not calibrated (Gao et al., arXiv 2511.13653, 2025, appendix A.5).

    Args:
        difference: (B,).
        first: (B,) bool, whether the right answer is the first of its pair; the shift favours the first answers.
        steps: of L-BFGS.
    """
    difference = difference.detach().double()
    sign = torch.where(first, 1.0, -1.0).to(difference)
    with torch.enable_grad():
        free = torch.tensor([1.0, 0.0], dtype=torch.double, device=difference.device, requires_grad=True)
        optimizer = torch.optim.LBFGS([free], max_iter=steps, line_search_fn="strong_wolfe")

        def closure() -> float:
            optimizer.zero_grad()
            loss = F.softplus(-(free[0] * difference + free[1] * sign)).mean()
            loss.backward()
            return loss.item()

        optimizer.step(closure)
        return closure()
