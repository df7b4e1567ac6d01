"""Sound files, read through the library `soundfile`, and what is needed to compare them: one channel, one rate."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zoo.utils.optional import need
from zoo.utils.paths import check_file

ENDINGS = frozenset({".wav", ".flac", ".ogg"})
RATES = (1000, 768_000)  # samples a second of any recording


@dataclass(frozen=True, eq=False)
class Sound:
    """A recording, or its beginning.

    Attributes:
        samples: (channels, S) in [-1, 1].
        rate: samples a second.
        length: samples of the complete recording, at least S.
    """

    samples: Tensor
    rate: int
    length: int

    @property
    def seconds(self) -> float:
        """Duration of the complete recording."""
        return self.length / self.rate


def read_sound(path: str | Path, seconds: float) -> Sound:
    """Reads the first seconds of a WAV, FLAC or OGG file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, or has no samples, or samples that are not finite.
        ImportError: the extra `audio` is not installed.
    """
    path = Path(path)
    check_file(path, "sound file")
    library = need("soundfile", "audio")
    try:
        with library.SoundFile(str(path)) as opened:
            rate, length = int(opened.samplerate), int(opened.frames)
            check_rate(rate, str(path))
            values = opened.read(math.ceil(seconds * rate), dtype="float32", always_2d=True)
    except library.LibsndfileError as error:
        raise ValueError(f"{path} is not a WAV, FLAC or OGG file that can be read ({error.error_string})") from None
    samples = torch.from_numpy(values.T.copy())
    if not samples.shape[1]:
        raise ValueError(f"{path} has no samples.")
    if not bool(samples.isfinite().all()):
        raise ValueError(f"{path} has samples that are NaN or infinite; export it again.")
    return Sound(samples, rate, max(length, samples.shape[1]))


def check_rate(rate: int, what: str) -> None:
    """Refuses a sampling rate that no recording has.

    Raises:
        ValueError: see above.
    """
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"{what} has {rate} samples a second; expected {RATES[0]} to {RATES[1]}.")


def resample(samples: Tensor, rate: int, wanted: int) -> Tensor:
    """Samples (S,) of one rate at another, through a low-pass filter below half of the smaller rate."""
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly  # SciPy comes with scikit-learn; slow to import

    common = math.gcd(rate, wanted)
    found = resample_poly(samples.double().numpy(), wanted // common, rate // common)
    return torch.from_numpy(found).float()
