"""Notes of six instruments, as samples, with the time and the frequencies that each of them fills."""

import math
from dataclasses import dataclass

import numpy as np

RATE = 8000
HIGHEST = 3800.0  # Hz; partials above it are left out
AUDIBLE = 0.02  # of the loudest partial: fainter ones do not count as part of a note's band
RELEASE = 0.02  # seconds in which a note fades out


@dataclass(frozen=True)
class Instrument:
    """How an instrument sounds.

    Attributes:
        partials: multiples of the pitch.
        amplitudes: of the partials.
        attack: seconds until the note is at its loudest.
        decay: seconds until it has decayed to 1 / e; 0 for a held note.
        vibrato: largest change of the pitch, relative, at 5.5 Hz.
    """

    partials: tuple[float, ...]
    amplitudes: tuple[float, ...]
    attack: float
    decay: float = 0.0
    vibrato: float = 0.0


INSTRUMENTS = {
    "flute": Instrument((1, 2, 3), (1.0, 0.15, 0.04), 0.05, vibrato=0.012),
    "organ": Instrument((1, 2, 3, 4, 6, 8), (1.0, 0.8, 0.6, 0.5, 0.35, 0.25), 0.01),
    "saw": Instrument(tuple(range(1, 13)), tuple(1 / k for k in range(1, 13)), 0.01, vibrato=0.004),
    "plucked": Instrument(tuple(range(1, 9)), tuple(1 / k**1.3 for k in range(1, 9)), 0.003, decay=0.10),
    "bell": Instrument((1, 2.0, 2.76, 5.4), (1.0, 0.6, 0.5, 0.3), 0.002, decay=0.25),
    "drum": Instrument((), (), 0.001, decay=0.05),
}


@dataclass(frozen=True)
class Note:
    """One note.

    Attributes:
        instrument: name.
        onset: in seconds.
        seconds: duration.
        pitch: in Hz; not used by the drum.
        loudness: largest amplitude.
        seed: of the phases, and of the noise of the drum.
    """

    instrument: str
    onset: float
    seconds: float
    pitch: float
    loudness: float
    seed: int

    def band(self) -> tuple[float, float]:
        """The lowest and the highest frequency in Hz."""
        made = INSTRUMENTS[self.instrument]
        if not made.partials:
            return 300.0, RATE / 2
        loud = [p * self.pitch for p, a in zip(made.partials, made.amplitudes, strict=True) if a >= AUDIBLE]
        return self.pitch, max(f for f in loud if f <= HIGHEST or f == self.pitch)

    def wave(self) -> np.ndarray:
        """Samples of the note, from its onset."""
        made, draw = INSTRUMENTS[self.instrument], np.random.default_rng(self.seed)
        t = np.arange(round(self.seconds * RATE), dtype=np.float32) / RATE
        if made.partials:
            swing = made.vibrato / (2 * math.pi * 5.5) * np.sin(2 * math.pi * 5.5 * t)
            place = (2 * math.pi * self.pitch * (t + swing)).astype(np.float32)
            pairs = [(p, a) for p, a in zip(made.partials, made.amplitudes, strict=True) if p * self.pitch <= HIGHEST]
            shifts = draw.uniform(0, 2 * math.pi, len(pairs))
            wave = sum(
                np.float32(a) * np.sin(np.float32(p) * place + np.float32(s))
                for (p, a), s in zip(pairs, shifts, strict=True)
            )
            wave = wave / sum(a for _, a in pairs)
        else:
            noise = draw.standard_normal(len(t) + 1).astype(np.float32)
            wave = np.diff(noise) / 3  # differences hold little of the low frequencies
        rise = np.minimum(t / made.attack, 1)
        fall = np.exp(-t / made.decay) if made.decay else 1.0
        out = np.clip((self.seconds - t) / RELEASE, 0, 1)
        return (self.loudness * wave * rise * fall * out).astype(np.float32)


def mix(notes: list[Note], samples: int, noise: float, seed: int) -> np.ndarray:
    """The sum of notes, and of white noise of a standard deviation, as `samples` samples."""
    wave = noise * np.random.default_rng(seed).standard_normal(samples).astype(np.float32)
    for note in notes:
        part, start = note.wave(), round(note.onset * RATE)
        part = part[: samples - start]
        wave[start : start + len(part)] += part
    return wave
