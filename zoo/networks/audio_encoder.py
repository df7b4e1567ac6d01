"""An encoder of log-mel pictures: convolutions over bands and time, each with a short field in time."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.networks.base import StateEncoder
from zoo.networks.receptive_field import ReceptiveField


class AudioConvNet(StateEncoder):
    """Timbre and rhythm of clips (B, frames, bands) as one state for every `stride` frames, averaged over time.

        timbre_i = max over bands of ReLU(convolution of `timbre[i]` bands x frames)       width channels
        rhythm_i = ReLU(convolution of `rhythm[i]` frames of the mean over bands)          width channels
        state = ReLU(batch norm(linear(all of them)))                                      `channels`

    The maximum over bands makes timbre independent of pitch. After Pons et al.: "End-to-end Learning for Music Audio
    Tagging at Scale", ISMIR 2018, arXiv 1711.02520, the front end also of Won et al., arXiv 1906.04972. A state depends
    on the frames of the longest kernel only, `receptive_field`; with `context` on those of its neighbours too.

    Args:
        bands: of the input.
        timbre: bands and frames of each kernel over the picture.
        rhythm: frames of each kernel over the mean of the bands.
        width: channels of each convolution.
        channels: of the states.
        stride: frames between two states.
        context: states that the last layer reads; 1: each by itself.

    Raises:
        ValueError: a number below 1, a kernel taller than the picture, or one of an even number of frames.
    """

    def __init__(
        self,
        bands: int,
        timbre: Sequence[Sequence[int]] = ((40, 7), (20, 7), (40, 1), (20, 1)),
        rhythm: Sequence[int] = (17, 5),
        width: int = 16,
        channels: int = 64,
        stride: int = 4,
        context: int = 1,
    ) -> None:
        super().__init__()
        sizes = [tuple(kernel) for kernel in timbre]
        if any(len(kernel) != 2 or not 1 <= kernel[0] <= bands for kernel in sizes):
            raise ValueError(f"timbre must be pairs of bands, at most {bands}, and frames; got {list(timbre)}.")
        frames = [*(kernel[1] for kernel in sizes), *rhythm, context]
        if min(*frames, width, channels, stride) < 1 or not all(n % 2 for n in frames) or len(frames) < 2:
            raise ValueError(
                "kernels and context must be odd numbers of frames, at least one kernel, and width, channels and "
                f"stride at least 1; got {frames}, {width}, {channels} and {stride}."
            )
        self.timbre = nn.ModuleList(nn.Conv2d(1, width, (w, h), (stride, 1)) for h, w in sizes)
        self.rhythm = nn.ModuleList(nn.Conv1d(1, width, n, stride) for n in rhythm)
        self.spans, self.pad = (*(w for _, w in sizes), *rhythm), context // 2
        self.norm = nn.BatchNorm1d(width * len(self.spans))
        self.mix = nn.Conv1d(width * len(self.spans), channels, context, bias=False)
        self.norm_mixed = nn.BatchNorm1d(channels)
        longest = max(self.spans)
        field = ReceptiveField().then(longest, stride, longest // 2)
        self.channels, self.receptive_field = channels, field.then(context, 1, context // 2)

    def states(self, x: Tensor) -> Tensor:
        """One state (B, frames / stride rounded up, `channels`) for every `stride` frames."""
        mean, found = x.mean(2)[:, None], []
        for layer, span in zip([*self.timbre, *self.rhythm], self.spans, strict=True):
            half = span // 2
            if isinstance(layer, nn.Conv2d):
                h = layer(F.pad(x, (0, 0, half, half))[:, None]).amax(3)
            else:
                h = layer(F.pad(mean, (half, half)))
            found.append(h.relu())
        h = F.pad(self.norm(torch.cat(found, 1)), (self.pad, self.pad))
        return self.norm_mixed(self.mix(h)).relu().mT

    def forward(self, x: Tensor) -> Tensor:
        return self.states(x).mean(1)
