"""Windows of series as codes: an encoder of a window and its spectrum, a codebook, and a decoder."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.sequences.layers.codebook import Codebook, CodebookOptions
from zoo.utils.functional import at_least_fp32


@dataclass
class Coded:
    """The codes of the P windows of each of V variables.

    Attributes:
        choice: (B, V, P, K), 1 for the code of a window, else 0.
        distance: (B, V, P, K) mean squared, of the encodings to the codes.
        reconstruction: (B,) mean squared error of the decoded windows.
        commitment: (B,) mean squared distance of the encodings to their codes, which do not move for it.
    """

    choice: Tensor
    distance: Tensor
    reconstruction: Tensor
    commitment: Tensor


class WindowCodes(nn.Module):
    """Cuts series into windows and gives each one of K codes.

        w = window ‖ log(1 + |spectrum|)      (B, V, P, L + L/2 + 1)    P windows of L steps
        e = normalise(MLP(w))                 (B, V, P, D)              mean 0, variance 1
        code = the nearest of the codebook
        window ≈ MLP(code)

    Windows start every `stride` steps; the last one is filled with the last value. All variables share the networks.

    Args:
        total: T.
        window: L.
        stride: in steps.
        width: of the hidden layers.
        codebook: see `CodebookOptions`.
    """

    def __init__(self, total: int, window: int, stride: int, width: int, codebook: CodebookOptions) -> None:
        super().__init__()
        self.total, self.window, self.stride = total, window, stride
        self.count = math.ceil((total - window) / stride) + 1
        self.encoder = nn.Sequential(
            nn.Linear(window + window // 2 + 1, width), nn.ReLU(), nn.Linear(width, codebook.dim)
        )
        self.codebook = Codebook(codebook)
        self.decoder = nn.Sequential(nn.Linear(codebook.dim, width), nn.ReLU(), nn.Linear(width, window))

    def windows(self, x: Tensor) -> Tensor:
        """The windows (B, V, P, L) of series (B, T, V)."""
        missing = (self.count - 1) * self.stride + self.window - self.total
        full = F.pad(x.mT, (0, missing), mode="replicate") if missing else x.mT
        return full.unfold(2, self.window, self.stride)

    def forward(self, x: Tensor) -> Coded:
        windows = self.windows(at_least_fp32(x))
        spectrum = torch.fft.rfft(windows).abs().log1p()
        encoded = self.encoder(torch.cat([windows, spectrum], 3))
        encoded = F.layer_norm(encoded, encoded.shape[-1:])
        distance, index, codes = self.codebook(encoded)
        decoded = self.decoder(encoded + (codes - encoded).detach())
        return Coded(
            self.codebook.assign(distance, index),
            distance,
            (decoded - windows).square().mean((1, 2, 3)),
            (encoded - codes).square().mean((1, 2, 3)),
        )

    def covered(self) -> Tensor:
        """(P, T) in {0, 1}: the steps of each window."""
        place = torch.arange(self.total) - torch.arange(self.count)[:, None] * self.stride
        return ((place >= 0) & (place < self.window)).float()
