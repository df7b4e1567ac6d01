"""The benchmark of denoising: what is chosen is not chosen on measured pictures, and the page is that of the record."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import denoising


def test_no_parameter_is_chosen_on_a_measured_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)  # in place of pictures of scikit-image
    samples = {"camera": (192, 192), "coffee": (192, 192, 3)}
    made = {name: draw.integers(0, 256, size, dtype=np.uint8) for name, size in samples.items()}
    skimage = SimpleNamespace(**{name: lambda name=name: made[name] for name in made})
    monkeypatch.setattr(denoising, "need", lambda module, extra: skimage)
    seen, measured = denoising.validation_pictures(), denoising.test_pictures()
    assert len(seen) == 2 and len(measured) == 4
    for picture in measured.values():
        assert all(picture.shape != x.shape or (picture - x).abs().mean() > 0.05 for x in seen)


def test_the_page_is_that_of_the_record() -> None:
    record = json.loads(denoising.RECORD.read_text(encoding="utf-8"))
    assert (denoising.HERE / "DENOISING.md").read_text(encoding="utf-8") == denoising.page(record)
