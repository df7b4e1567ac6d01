"""The page of predictive codes is that of its record."""

import json

from benchmarks import predictive


def test_the_page_is_that_of_the_record() -> None:
    record = json.loads((predictive.HERE / "PREDICTIVE.json").read_text(encoding="utf-8"))
    written = (predictive.HERE / "PREDICTIVE.md").read_text(encoding="utf-8")
    assert written == predictive.page(record)
    assert f"{record['codes']['behaviour']['mean']['units']:.3f}" in written
