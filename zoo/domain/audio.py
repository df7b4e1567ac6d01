"""Clips of sound as log-mel pictures."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from zoo.domain.audio_files import ENDINGS, Sound, check_rate, read_sound, resample
from zoo.domain.base import Domain

FLOOR = 1e-5  # added to the energy before the logarithm
UNEVEN = ("refuse", "pad")
QUIET = 1e-4  # largest amplitude of a clip that counts as silent


@dataclass(frozen=True, kw_only=True)
class AudioDomain(Domain):
    """Clips of one channel as log-mel pictures (frames, bands), time first, as in series.

        energy = |STFT|², Hann window, frames centred on every `hop`-th sample, zeros beyond the ends
        x = (log(1e-5 + filters · energy) - mean) / std

    The filters are triangles of height 1, equally spaced on the mel scale 2595 log10(1 + f / 700).

    Attributes:
        rate: samples a second; recordings of another rate are resampled, with a warning.
        seconds: duration of a clip.
        bands: number of filters.
        window: samples of a window.
        hop: samples between two frames.
        lowest: lower end of the first filter in Hz.
        highest: upper end of the last filter in Hz; 0 for half of the rate.
        mean: of the log-mel values.
        std: of the log-mel values.
        uneven: how recordings of another duration are handled. "pad": silence is added at the end, and longer ones are
            cut, both with a warning; "refuse": an error.

    Raises:
        ValueError: numbers out of range, filters that contain no frequency of the STFT, or an unknown choice.
    """

    modality: ClassVar[str] = "audio"
    noun: ClassVar[str] = "clips"
    endings: ClassVar[frozenset[str]] = ENDINGS
    rate: int = 8000
    seconds: float = 3.0
    bands: int = 64
    window: int = 512
    hop: int = 128
    lowest: float = 0.0
    highest: float = 0.0
    mean: float = 0.0
    std: float = 1.0
    uneven: str = "pad"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(self.rate, "the domain")
        object.__setattr__(self, "highest", self.highest or self.rate / 2)
        if not 1 <= self.hop <= self.window or self.window < 4 or self.samples < self.window:
            raise ValueError(
                f"expected hop <= window <= samples of a clip; got hop {self.hop}, window {self.window} and "
                f"{self.samples} samples."
            )
        if not (0 <= self.lowest < self.highest <= self.rate / 2 and math.isfinite(self.mean) and 0 < self.std < 1e9):
            raise ValueError(
                f"expected 0 <= lowest < highest <= {self.rate / 2:g} Hz and std above 0; got {self.lowest}, "
                f"{self.highest} and {self.std}."
            )
        if self.bands < 1 or not self.filters.any(1).all():
            raise ValueError(
                f"{self.bands} bands do not fit into {self.window // 2 + 1} frequencies: a filter would be empty; "
                "lower bands, or raise window."
            )
        if self.uneven not in UNEVEN:
            raise ValueError(f"uneven must be one of {', '.join(UNEVEN)}; got '{self.uneven}'.")

    @property
    def samples(self) -> int:
        """Samples of a clip."""
        return round(self.seconds * self.rate)

    @property
    def step(self) -> float:
        """Seconds between two frames."""
        return self.hop / self.rate

    @property
    def shape(self) -> tuple[int, int]:
        return self.samples // self.hop + 1, self.bands

    @cached_property
    def edges(self) -> tuple[float, ...]:
        """Hz of the ends and peaks of the filters, bands + 2 numbers: filter i rises from edge i and ends at i + 2."""
        low, high = (2595 * math.log10(1 + f / 700) for f in (self.lowest, self.highest))
        places = [low + (high - low) * i / (self.bands + 1) for i in range(self.bands + 2)]
        return tuple(700 * (10 ** (m / 2595) - 1) for m in places)

    @cached_property
    def filters(self) -> np.ndarray:
        """(bands, window / 2 + 1) weights of the frequencies in each band."""
        frequency = np.arange(self.window // 2 + 1) * self.rate / self.window
        edge = np.array(self.edges)[:, None]
        rise = (frequency - edge[:-2]) / (edge[1:-1] - edge[:-2])
        fall = (edge[2:] - frequency) / (edge[2:] - edge[1:-1])
        return np.minimum(rise, fall).clip(0).astype(np.float32)

    def log_mel(self, waves: Tensor) -> Tensor:
        """Pictures (..., frames, bands) of waves (..., samples), normalised."""
        window = torch.hann_window(self.window)
        found = torch.stft(
            waves, self.window, self.hop, window=window, pad_mode="constant", center=True, return_complex=True
        )
        energy = torch.from_numpy(self.filters) @ found.abs().square()
        return self.normalise((FLOOR + energy).log().mT)

    def normalise(self, values: Tensor) -> Tensor:
        """Log-mel values as an input."""
        return (values - self.mean) / self.std

    def values(self, x: Tensor) -> Tensor:
        """The log-mel values of an input, the inverse of `normalise`."""
        return x * self.std + self.mean

    def preprocess(self, sound: Sound) -> Tensor:
        """Converts a recording to an input (frames, bands): the mean of its channels, resampled, cut or padded.

        Raises:
            ValueError: another duration where that is refused, or no samples.
        """
        if self.uneven == "refuse" and abs(sound.seconds - self.seconds) > self.step:
            raise ValueError(
                f"a clip of {sound.seconds:.3g} s; expected {self.seconds:g} s. Cut it, or train with data whose "
                "option uneven is pad."
            )
        if sound.samples.ndim != 2 or not sound.samples.numel():
            raise ValueError(f"a recording is (channels, samples), at least one of each; got {sound.samples.shape}.")
        wave = resample(sound.samples.mean(0), sound.rate, self.rate)[: self.samples]
        return self.log_mel(torch.nn.functional.pad(wave, (0, self.samples - len(wave))))

    def raw(self, path: str | Path) -> Sound:
        """Reads a recording, up to a little more than the duration of a clip.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it cannot be read.
            ImportError: the extra `audio` is not installed.
        """
        return read_sound(path, self.seconds + 0.1)  # the end of what is resampled needs what follows

    def warnings(self, raw: Sound, x: Tensor) -> list[str]:
        found = []
        channels = len(raw.samples)
        if channels > 1:
            found.append(f"The recording has {channels} channels; the model reads their mean.")
        if raw.rate != self.rate:
            lost = f"; what is above {raw.rate / 2:g} Hz is missing" if raw.rate < 2 * self.highest else ""
            found.append(f"The recording was resampled from {raw.rate} to {self.rate} samples a second{lost}.")
        if raw.seconds > self.seconds + self.step:
            found.append(f"The recording has {raw.seconds:.3g} s; the model reads the first {self.seconds:g} s.")
        if raw.seconds < self.seconds - self.step:
            found.append(f"The recording has {raw.seconds:.3g} s; silence was added up to {self.seconds:g} s.")
        if float(raw.samples.abs().max()) < QUIET:
            found.append("The recording is silent.")
        return found
