"""Short synthesised music with tags, so that the time and the frequencies of each tag's evidence are known."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.synthetic.benchmark import EvidenceItems, SyntheticBenchmark
from zoo.data.synthetic.music_notes import INSTRUMENTS, RATE, Note, mix
from zoo.domain import AudioDomain
from zoo.utils.checks import check_at_least

SECONDS = 3.0
MEAN, STD = -5.0, 2.7  # of the log-mel values, measured on 2,000 clips
NOISE = 0.002
STEPS = {"rising": (2, 3, 4), "falling": (-4, -3, -2)}  # semitones between the notes of a melody
CHORDS = {"minor": (0, 3, 7), "major": (0, 4, 7)}
FIGURES = ("rising", "falling", "repeated", "minor", "major")
TAGS = (*INSTRUMENTS, "minor chord", "rising melody", "fast notes")


@dataclass(frozen=True)
class Phrase:
    """Some notes of one instrument, and the tags that they give their clip."""

    notes: tuple[Note, ...]
    tags: frozenset[str]


@dataclass(frozen=True)
class Clip:
    """What is played, and the seed of the background noise."""

    phrases: tuple[Phrase, ...]
    seed: int

    def wave(self, without: Collection[str] = ()) -> np.ndarray:
        """Samples of the clip without the phrases that have one of some tags."""
        kept = [phrase for phrase in self.phrases if not phrase.tags & set(without)]
        notes = [note for phrase in kept for note in phrase.notes]
        return mix(notes, round(SECONDS * RATE), NOISE, self.seed)


class TaggedMusic(SyntheticBenchmark):
    """Clips of 3 s at 8 kHz with one to three phrases of five instruments, and often a drum; nine tags.

        flute, organ, saw, plucked, bell, drum      the instruments of the phrases
        minor chord                                 a phrase is three notes together, root, minor third and fifth
        rising melody                               a phrase is three notes, each two to four semitones above the last
        fast notes                                  a phrase is a melody of notes of 0.12 s, not of 0.3 s

    A phrase is with equal probability one of a rising, a falling and a repeated melody, a minor and a major chord, at a
    random pitch, time and loudness; a melody is fast with probability 1/2. Instruments of a clip differ. Phrases may
    sound together. White noise of amplitude 0.002 is added.

    The task is "multilabel". Regions (9, frames, bands) are the notes of the phrases that give a clip its tag: from
    onset to end of each note, and from its lowest to its highest audible partial; empty for a tag that is absent. An
    intervention plays the clip again without all phrases that have a tag, bit-equal elsewhere.

    Args:
        count: number of training clips.
        val_count: number of validation clips.
        test_count: number of test clips.
        **loading: the options of `DataModule`.
    """

    factors = TAGS
    ceiling = 1.0

    def __init__(self, count: int = 2000, val_count: int = 400, test_count: int = 500, **loading: Any) -> None:
        super().__init__(**loading)
        check_at_least(1, count=count, val_count=val_count, test_count=test_count)
        self.counts = {"train": count, "val": val_count, "test": test_count}

    def make_domain(self) -> AudioDomain:
        return AudioDomain(classes=TAGS, task="multilabel", rate=RATE, seconds=SECONDS, mean=MEAN, std=STD)

    def draw(self, split: str, count: int, generator: torch.Generator) -> "ClipItems":
        seed = int(torch.randint(2**62, (), generator=generator))
        draw = np.random.default_rng(seed)
        return ClipItems([compose(draw) for _ in range(count)], self.make_domain(), f"tagged music {split}")

    def wave(self, split: str, row: int) -> Tensor:
        """The samples (24,000,) of a clip, to be listened to."""
        (chosen,) = self.check_rows(split, [row])
        items = self._splits[split]
        assert isinstance(items, ClipItems)
        return torch.from_numpy(items.clips[chosen].wave())


class ClipItems(EvidenceItems):
    """Clips with their tags, and the regions of each tag.

    Args:
        clips: N of them.
        domain: converts waves to inputs.
        title: of the names of the items.
    """

    def __init__(self, clips: Sequence[Clip], domain: AudioDomain, title: str) -> None:
        self.clips, self.domain, self.title = list(clips), domain, title
        tags = [frozenset[str]().union(*(phrase.tags for phrase in clip.phrases)) for clip in clips]
        self.targets = torch.tensor([[float(tag in found) for tag in TAGS] for found in tags])
        self.inputs = torch.cat([self._inputs(self.clips[i : i + 256]) for i in range(0, len(clips), 256)])

    def _inputs(self, clips: Sequence[Clip], without: Collection[str] = ()) -> Tensor:
        return self.domain.log_mel(torch.from_numpy(np.stack([clip.wave(without) for clip in clips])))

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"input": self.inputs[i], "target": self.targets[i], "regions": self.regions(i)}

    def regions(self, i: int) -> Tensor:
        """(9, frames, bands) uint8 in {0, 1}: the notes that give the clip each tag."""
        found = torch.zeros(len(TAGS), *self.domain.shape, dtype=torch.uint8)
        for phrase in self.clips[i].phrases:
            for note in phrase.notes:
                frames, bands = box(note, self.domain)
                for tag in phrase.tags:
                    found[TAGS.index(tag), frames, bands] = 1
        return found

    def without(self, rows: list[int], factors: Collection[str]) -> Tensor:
        return self._inputs([self.clips[row] for row in rows], factors) if factors else self.inputs[rows]

    def name(self, i: int) -> str:
        """Name of item i."""
        return f"{self.title} {i}"


def box(note: Note, domain: AudioDomain) -> tuple[slice, slice]:
    """Frames and bands of the picture that a note fills."""
    start, end = note.onset / domain.step, (note.onset + note.seconds) / domain.step
    low, high = note.band()
    reached = [i for i in range(domain.bands) if domain.edges[i] <= high and domain.edges[i + 2] >= low]
    return slice(round(start), min(round(end) + 1, domain.shape[0])), slice(reached[0], reached[-1] + 1)


def compose(draw: np.random.Generator) -> Clip:
    """A random clip, see `TaggedMusic`."""
    pitched = [name for name, made in INSTRUMENTS.items() if made.partials]
    chosen = draw.choice(pitched, draw.integers(1, 4), replace=False)
    phrases = [phrase_of(str(name), str(draw.choice(FIGURES)), draw) for name in chosen]
    if draw.random() < 0.4:
        phrases.append(phrase_of("drum", "repeated", draw))
    return Clip(tuple(phrases), int(draw.integers(2**31)))


def phrase_of(instrument: str, figure: str, draw: np.random.Generator) -> Phrase:
    """A random phrase: a melody of three notes, or a chord."""
    tags = {instrument}
    loudness, root = draw.uniform(0.12, 0.3), 196.0 * 2 ** draw.uniform(0, 1.5)
    if figure in CHORDS:
        seconds = draw.uniform(0.5, 0.8)
        start = draw.uniform(0, SECONDS - seconds)
        places = [(start, step) for step in CHORDS[figure]]
        loudness *= 0.7
        tags |= {"minor chord"} if figure == "minor" else set()
    else:
        fast = draw.random() < 0.5
        seconds = 0.12 if fast else 0.3
        start, step = draw.uniform(0, SECONDS - 3 * seconds), 0
        places = []
        for i in range(3):
            places.append((start + i * seconds, step))
            step += int(draw.choice(STEPS[figure])) if figure in STEPS else 0
        tags |= {"fast notes"} if fast else set()
        tags |= {"rising melody"} if figure == "rising" else set()
    notes = [
        Note(
            instrument,
            float(at),
            float(seconds),
            float(root * 2 ** (up / 12)),
            float(loudness),
            int(draw.integers(2**31)),
        )
        for at, up in places
    ]
    return Phrase(tuple(notes), frozenset(tags))
