"""The tutorials run, and the site shows their code as it is."""

import os
import warnings
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torchvision.io import read_image

from docs.render_tutorials import PAGES, expected, render, tutorials, without_output


@pytest.mark.parametrize("name", tutorials())
def test_a_tutorial_runs_and_draws(name: str, tmp_path: Path) -> None:
    with patch.dict(os.environ), torch.random.fork_rng(), warnings.catch_warnings():  # as in a process of its own
        warnings.simplefilter("ignore")
        render(name, tmp_path)
    picture = read_image(str(tmp_path / f"{name}.png"))
    assert picture.shape[1] > 200 and torch.unique(picture.flatten(1), dim=1).shape[1] > 20
    assert "```text\n" in (tmp_path / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", tutorials())
def test_the_page_shows_the_script(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert without_output(page) == expected(name), f"run `python docs/render_tutorials.py {name}`"
    assert (PAGES / f"{name}.png").is_file()
