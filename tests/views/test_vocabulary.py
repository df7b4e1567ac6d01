"""The page of a whole vocabulary: every unit of every model, searchable, safe."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import zoo
from tests.small_models import SMALL
from tests.views.browser import run_in_browser
from zoo.cli.main import main
from zoo.cli.show import weights_of
from zoo.views.vocabulary import vocabulary_page


@pytest.mark.parametrize("name", SMALL)
def test_every_unit_is_there(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.manual_seed(0)
    model = SMALL[name]().model.eval()
    zoo.save(model, tmp_path / "model")
    assert main(["show", "--checkpoint", str(tmp_path / "model"), "--output", str(tmp_path / "all.html")]) == 0
    text = (tmp_path / "all.html").read_text()
    pruned = sum("pruned" in unit.source for unit in model.units())
    assert (
        len(re.findall("<li[ >]", text)) == len(model.units()) - pruned
        and f"{len(model.units()):,} units -> " in capsys.readouterr().out
    )
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and len(text) < 2_000_000


def test_weights_are_those_of_the_head() -> None:
    model = SMALL["protopnet"]().model
    weights = weights_of(model)
    assert weights.equal(model.head.weight.T)
    page = vocabulary_page("a", model.units(), model.domain, weights)
    largest = int(weights[0].argmax())
    assert f"<bdi>{model.domain.classes[largest]}</bdi></th><td>+{weights[0, largest]:.3f}</td>" in page
    assert weights_of(SMALL["prototree"]().model) is None
    with pytest.raises(ValueError, match=r"expected weights \(\d+, \d+\), units by classes; got \(1, 2\)"):
        vocabulary_page("a", model.units(), model.domain, torch.zeros(1, 2))


def test_searching_in_a_browser(tmp_path: Path) -> None:
    model = SMALL["protopnet"]().model
    evil = "<img src=x onerror=window.bad=1> '\" & 😀"
    units = (replace(model.units()[0], name=evil), *model.units()[1:])
    page = vocabulary_page(evil, units, model.domain, weights_of(model), {"accuracy": 0.5})
    script = """
    var field = document.querySelector('#find');
    function shown(word) {
      field.value = word;
      field.dispatchEvent(new Event('input'));
      return [document.querySelectorAll('.cards > li:not([hidden])').length, document.querySelector('#none').hidden];
    }
    window.found = [shown(''), shown('onerror'), shown('nothing of it'), window.bad || null];
    """
    answer = json.loads(run_in_browser(page, script, tmp_path))
    assert answer["wrong"] == [] and answer["asked"] == []
    assert answer["found"] == [[len(units), True], [1, True], [0, False], None]


def test_a_folder_is_no_page(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    zoo.save(SMALL["cem"]().model.eval(), tmp_path / "model")
    assert main(["show", "--checkpoint", str(tmp_path / "model"), "--output", str(tmp_path)]) == 2
    assert "--output must be an HTML file" in capsys.readouterr().err
