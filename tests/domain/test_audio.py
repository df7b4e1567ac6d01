"""Clips of sound: the log-mel picture by an independent formula, files, and what is said about them."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.small_models import CLIPS
from zoo.domain import AudioDomain, Domain
from zoo.domain.audio_files import Sound
from zoo.domain.inputs import read_input

DOMAIN = AudioDomain(classes=("a", "b"), seconds=0.5)


def sine(hertz: float, rate: int, seconds: float) -> torch.Tensor:
    return torch.from_numpy(0.5 * np.sin(2 * math.pi * hertz * np.arange(round(seconds * rate)) / rate)).float()


def test_the_picture_is_that_of_the_formula() -> None:
    wave = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    found = replace(DOMAIN, mean=-2.0, std=3.0).preprocess(Sound(wave, 8000, 4000))
    assert found.shape == DOMAIN.shape == (32, 64)
    padded = np.pad(wave[0].double().numpy(), 256)
    window = 0.5 - 0.5 * np.cos(2 * math.pi * np.arange(512) / 512)
    mel = lambda f: 2595 * np.log10(1 + f / 700)  # noqa: E731
    edges = np.linspace(0, mel(4000.0), 66)
    for frame in (0, 7, 31):
        energy = np.abs(np.fft.rfft(padded[frame * 128 : frame * 128 + 512] * window)) ** 2
        hertz = 700 * (10 ** (edges / 2595) - 1)
        for band in (0, 20, 63):
            a, b, c = hertz[band : band + 3]
            weight = [max(0.0, min((f - a) / (b - a), (c - f) / (c - b))) for f in np.arange(257) * 8000 / 512]
            expected = (math.log(1e-5 + float(np.dot(weight, energy))) + 2) / 3
            assert float(found[frame, band]) == pytest.approx(expected, abs=2e-4)


def test_a_tone_is_in_its_band_whatever_the_rate() -> None:
    pictures = []
    for rate in (8000, 22050, 44100):
        wave = sine(1000, rate, 0.5)
        pictures.append(DOMAIN.preprocess(Sound(torch.stack([wave, wave]), rate, len(wave))))
    for picture in pictures:
        band = int(picture[10].argmax())
        assert DOMAIN.edges[band] < 1000 < DOMAIN.edges[band + 2]
        torch.testing.assert_close(picture[5:25, band], pictures[0][5:25, band], atol=0.02, rtol=0.0)


def test_files_are_read_and_what_was_changed_is_said(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    wave = sine(440, 16000, 0.7).numpy()
    soundfile.write(tmp_path / "x.wav", np.stack([wave, wave], 1), 16000)
    read = read_input(tmp_path / "x.wav", DOMAIN)
    assert read.x.shape == (32, 64) and read.warnings == (
        "The recording has 2 channels; the model reads their mean.",
        "The recording was resampled from 16000 to 8000 samples a second.",
        "The recording has 0.7 s; the model reads the first 0.5 s.",
    )
    soundfile.write(tmp_path / "y.flac", np.zeros(1000), 4000)
    assert read_input(tmp_path / "y.flac", DOMAIN).warnings == (
        "The recording was resampled from 4000 to 8000 samples a second; what is above 2000 Hz is missing.",
        "The recording has 0.25 s; silence was added up to 0.5 s.",
        "The recording is silent.",
    )
    with pytest.raises(ValueError, match=r"y.flac: a clip of 0.25 s; expected 0.5 s. Cut it"):
        replace(DOMAIN, uneven="refuse").read(tmp_path / "y.flac")


def test_bad_files_are_refused(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    (tmp_path / "bad.wav").write_bytes(b"RIFF, or so")
    with pytest.raises(ValueError, match=r"bad.wav is not a WAV, FLAC or OGG file that can be read"):
        DOMAIN.read(tmp_path / "bad.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    with pytest.raises(ValueError, match=r"empty.wav has no samples"):
        DOMAIN.read(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), 8000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"nan.wav has samples that are NaN or infinite"):
        DOMAIN.read(tmp_path / "nan.wav")
    with pytest.raises(FileNotFoundError, match="no sound file at"):
        DOMAIN.read(tmp_path / "none.wav")
    soundfile.write(tmp_path / "slow.wav", np.zeros(10), 10)
    with pytest.raises(ValueError, match=r"slow.wav has 10 samples a second; expected 1000"):
        DOMAIN.read(tmp_path / "slow.wav")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop": 600}, "expected hop <= window <= samples of a clip; got hop 600"),
        ({"bands": 200}, "200 bands do not fit into 257 frequencies"),
        ({"highest": 5000.0}, "expected 0 <= lowest < highest <= 4000 Hz"),
        ({"uneven": "loop"}, "uneven must be one of refuse, pad; got 'loop'"),
        ({"rate": 10}, "the domain has 10 samples a second"),
    ],
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AudioDomain(**{"classes": ("a",), **options})


def test_plain_data_makes_an_equal_domain() -> None:
    assert Domain.from_dict(CLIPS.to_dict()) == CLIPS
