"""Linear recurrences as matrices: y = α s for each channel, with gates as observed.

Each has the matrix in three forms that agree: `push`, s -> α s, a scan from the first position; `pull`, q -> αᵀ q, a
scan from the last; and `matrix`, α itself, from cumulative sums of the logarithms of decays. All tensors are (T, B, E),
time first; positions without a token neither write nor decay the state.

Implicit attention of S6: Ali, Zimerman, Wolf: "The Hidden Attention of Mamba Models", 2024, arXiv 2403.01590, and for
the other kinds Zimerman, Ali, Wolf: "Explaining Modern Gated-Linear RNNs via a Unified Implicit Attention Formulation",
2024, arXiv 2405.16504.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.sequences.layers.dual_scan import dual_scan
from zoo.sequences.layers.scan import linear_scan, selective_scan


class Recurrence(Protocol):
    """The matrices α (T, T), lower triangular, of B inputs and E channels."""

    def push(self, s: Tensor) -> Tensor:
        """y_i = Σ_j α_ij s_j: (T, B, E) to (T, B, E)."""
        ...

    def pull(self, q: Tensor) -> Tensor:
        """r_j = Σ_i α_ij q_i: (T, B, E) to (T, B, E)."""
        ...

    def matrix(self) -> Tensor:
        """α (T, T, B, E), the position that reads first."""
        ...


@dataclass(frozen=True)
class Selective(Recurrence):
    """S6: α_ij = Σ_n C_in exp(A_n Σ_{j<k≤i} Δ_k) Δ_j B_jn for j ≤ i, and D besides on the diagonal.

    Gu, Dao: "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023, arXiv 2312.00752, section 3.

    Attributes:
        step: Δ (T, B, E), at least 0.
        rate: A (E, N), below 0.
        write: B (T, B, N).
        read: C (T, B, N).
        skip: D (E,).
    """

    step: Tensor
    rate: Tensor
    write: Tensor
    read: Tensor
    skip: Tensor

    def push(self, s: Tensor) -> Tensor:
        return selective_scan(self.step * s, self.step, self.rate, self.write, self.read) + self.skip * s

    def pull(self, q: Tensor) -> Tensor:
        later = self.step.roll(-1, 0)  # the last one meets a state of zeros
        found = selective_scan(q.flip(0), later.flip(0), self.rate, self.read.flip(0), self.write.flip(0))
        return self.step * found.flip(0) + self.skip * q

    def matrix(self) -> Tensor:
        total = self.step.cumsum(0)
        between, masked = (total[:, None] - total).clamp_min(0), _earlier(self.step)  # (T, T, B, E), of no later j
        found = torch.zeros_like(between)
        for n in range(self.rate.shape[1]):  # not all at once, which takes N times the memory
            both = self.read[:, None, :, n] * self.write[None, :, :, n]  # (T, T, B)
            found += both[..., None] * (between * self.rate[:, n]).exp()
        own = torch.eye(len(total), device=total.device, dtype=total.dtype)[..., None, None]
        return found * masked * self.step + own * self.skip


@dataclass(frozen=True)
class Dual(Recurrence):
    """Mamba-2: α_ij = ⟨C_i, B_j⟩ exp(Σ_{j<k≤i} log a_k) Δ_j for j ≤ i, the same for all channels of a head, D besides.

    Dao, Gu: "Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State Space
    Duality", ICML 2024, arXiv 2405.21060, section 5.

    Attributes:
        step: Δ (T, B, H), at least 0.
        log_decay: log a (T, B, H), at most 0.
        write: B (T, B, N).
        read: C (T, B, N).
        skip: D (E,).
    """

    step: Tensor
    log_decay: Tensor
    write: Tensor
    read: Tensor
    skip: Tensor

    def push(self, s: Tensor) -> Tensor:
        written = self._heads(s) * self.step[..., None]
        return dual_scan(written, self.log_decay, self.write, self.read).flatten(2) + self.skip * s

    def pull(self, q: Tensor) -> Tensor:
        later = self.log_decay.roll(-1, 0)  # the last one meets a state of zeros
        found = dual_scan(self._heads(q).flip(0), later.flip(0), self.read.flip(0), self.write.flip(0))
        return (found.flip(0) * self.step[..., None]).flatten(2) + self.skip * q

    def matrix(self) -> Tensor:
        total = self.log_decay.cumsum(0)
        found = (total[:, None] - total).clamp_max(0).exp() * _earlier(total) * self.step  # (T, T, B, H)
        found = found * torch.einsum("ibn,jbn->ijb", self.read, self.write)[..., None]
        own = torch.eye(len(total), device=total.device, dtype=total.dtype)[..., None, None]
        return found.repeat_interleave(len(self.skip) // found.shape[3], 3) + own * self.skip

    def _heads(self, values: Tensor) -> Tensor:
        return values.unflatten(2, (self.step.shape[2], -1))


@dataclass(frozen=True)
class Gated(Recurrence):
    """RG-LRU: α_ij = (Π_{j<k≤i} a_k) γ_j i_j for j ≤ i, where γ_j = √(1 - a_j²), and 1 at the first token.

    De et al.: "Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language Models", 2024,
    arXiv 2402.19427, section 2.4.

    Attributes:
        log_decay: log a (T, B, E), at most 0.
        write: γ i (T, B, E).
    """

    log_decay: Tensor
    write: Tensor

    def push(self, s: Tensor) -> Tensor:
        return linear_scan(self.log_decay.exp(), self.write * s)

    def pull(self, q: Tensor) -> Tensor:
        return self.write * linear_scan(self.log_decay.exp().roll(-1, 0), q, reverse=True)

    def matrix(self) -> Tensor:
        total = self.log_decay.cumsum(0)
        return (total[:, None] - total).clamp_max(0).exp() * _earlier(total) * self.write


@dataclass(frozen=True)
class Weighted(Recurrence):
    """RWKV-4: α_ij = e^(k_j - w (i - j - 1)) / Z_i for j < i and e^(k_i + u) / Z_i for j = i; each row sums to 1.

    Peng et al.: "RWKV: Reinventing RNNs for the Transformer Era", Findings of EMNLP 2023, arXiv 2305.13048,
    equation 16.

    Attributes:
        log_decay: -w at tokens, 0 elsewhere (T, B, E).
        weight: e^k at tokens, 0 elsewhere (T, B, E).
        bonus: e^u (E,).
    """

    log_decay: Tensor
    weight: Tensor
    bonus: Tensor

    def push(self, s: Tensor) -> Tensor:
        return self._sum(self.weight * s) / self.total()

    def pull(self, q: Tensor) -> Tensor:
        asked = q / self.total()
        after = linear_scan(self.log_decay.exp(), asked, reverse=True)
        return self.weight * (F.pad(after[1:], (0, 0, 0, 0, 0, 1)) + self.bonus * asked)

    def total(self) -> Tensor:
        """Z (T, B, E), 1 where there is no token."""
        return self._sum(self.weight) + (self.weight == 0)

    def _sum(self, written: Tensor) -> Tensor:
        before = linear_scan(self.log_decay.exp(), written)
        return F.pad(before[:-1], (0, 0, 0, 0, 1, 0)) + self.bonus * written

    def matrix(self) -> Tensor:
        total = self.log_decay.cumsum(0)
        apart = (total[:, None] - self.log_decay[:, None] - total).clamp_max(0).exp()  # decays strictly between
        own = torch.eye(len(total), device=total.device, dtype=total.dtype)[..., None, None]
        found = self.weight * (apart * (_earlier(total) - own) + own * self.bonus)
        return found / found.sum(1, keepdim=True).clamp_min(torch.finfo(found.dtype).tiny)


def _earlier(values: Tensor) -> Tensor:
    """(T, T, 1, 1): 1 where the second position is no later than the first."""
    return torch.ones(len(values), len(values), device=values.device, dtype=values.dtype).tril()[..., None, None]
