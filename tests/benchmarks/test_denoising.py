"""The benchmark of denoising: what is chosen is not chosen on measured pictures, and the page is that of the record."""

import json

from benchmarks import denoising


def test_no_parameter_is_chosen_on_a_measured_picture() -> None:
    seen, measured = denoising.validation_pictures(), denoising.own_test_pictures()
    assert len(seen) == len(measured) == 2
    for picture in measured.values():
        assert all(picture.shape != x.shape or (picture - x).abs().mean() > 0.05 for x in seen)


def test_the_page_is_that_of_the_record() -> None:
    record = json.loads(denoising.RECORD.read_text(encoding="utf-8"))
    assert (denoising.HERE / "DENOISING.md").read_text(encoding="utf-8") == denoising.page(record)
