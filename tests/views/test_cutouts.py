"""Groups on pages: what they saw, and nothing else, stands out."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.io import write_png

import zoo
from tests.small_models import SUBWORDS, VARIANTS, bagnet, build, sop
from zoo.cli.main import main
from zoo.views.html import page


def one_view(explanation: zoo.Explanation) -> zoo.Explanation:
    """The explanation without what it is relative to the other references, which pages show too."""
    return replace(explanation, alternatives={})


def test_the_clip_path_of_a_group_has_its_elements() -> None:
    small = sop()
    explanation = one_view(small.model.explain(small.inputs[:1]))
    html = page(explanation, ["noise"], top=2)
    paths = dict(re.findall(r"<clipPath id='cut[0-9a-f]+-0-(\d)'><path d='([^']+)'", html))
    strongest = [term.index for term in explanation.top(2)[0]]
    assert [int(k) for k in paths] == strongest
    for k, path in paths.items():
        cells = explanation.support[0, int(k)].nonzero() * 2
        assert [list(map(int, m)) for m in re.findall(r"M(\d+) (\d+)h2v2h-2z", path)] == cells.flip(1).tolist()
    assert "processed alone" in html and "top 5 %" not in html


def test_elements_that_do_not_divide_the_input_keep_their_size() -> None:
    small = sop(elements={"patch": 5})  # of 12 x 10 pixels: the last row of elements has but two
    explanation = one_view(small.model.explain(small.inputs[:1]))
    html = page(explanation, ["noise"], top=1)
    ((k, path),) = re.findall(r"<clipPath id='cut[0-9a-f]+-0-(\d)'><path d='([^']+)'", html)
    cells = explanation.support[0, int(k)].nonzero() * 5
    assert [list(map(int, m)) for m in re.findall(r"M(\d+) (\d+)h5v5h-5z", path)] == cells.flip(1).tolist()


def test_the_printed_factors_multiply_to_the_contribution() -> None:
    small = sop()
    html = page(small.model.explain(small.inputs[:1]), ["noise"], top=1)
    found = re.search(r"<b>(.{1,9})</b> concentration × <b>(.{1,9})</b> weight × <b>(.{1,9})</b> group logit", html)
    c, theta, alone = (float(v.replace("\u2212", "-")) for v in found.groups())
    total = float(re.search(r"= <b>(.{1,9})</b></span>", html).group(1).replace("\u2212", "-"))
    assert c * theta * alone == pytest.approx(total, abs=2e-3)


def test_words_outside_of_a_group_are_faded() -> None:
    small = build("sop", "texts")
    explanation = one_view(small.model.explain(small.inputs[1:2]))  # bad loud place
    html = page(explanation, ["text"], top=4)
    figures = re.findall(r"<figure class='wide words'>(.*?)</figure>", html)
    assert figures
    for figure, term in zip(figures, explanation.top(len(figures))[0], strict=True):
        seen = [("faded" not in word) for word in re.findall(r"<bdi>.*?</bdi>", figure)]
        assert seen == explanation.support[0, term.index, :3].bool().tolist()


def test_pieces_of_a_word_are_faded_within_the_word() -> None:
    small = SUBWORDS["sop-huggingface"]()
    explanation = small.model.explain(small.model.domain.preprocess("an unbelievable place !")[None])
    support = torch.tensor([1.0, 1, 0, 0, 1, 1, 0]).expand_as(explanation.support)
    html = page(replace(explanation, support=support, alternatives={}), ["text"], top=1)
    (figure,) = re.findall(r"<figure class='wide words'>(.*?)</figure>", html)
    unknown = "<bdi><span class='unknown' title='unknown to the model'>‹?›</span></bdi>"
    assert figure == f"{unknown} <bdi>un<span class='faded'>believable</span></bdi> <bdi>place!</bdi>"
    assert f"<blockquote class='text'>{unknown} <bdi>unbelievable</bdi> <bdi>place!</bdi></blockquote>" in html


def test_features_of_a_group_are_named() -> None:
    small = VARIANTS["sop-rows"]()
    explanation = one_view(small.model.explain(small.inputs[:1]))
    html = page(explanation, ["row"], top=1)
    (figure,) = re.findall(r"<figure class='wide words'>(.*?)</figure>", html)
    kept = explanation.support[0, explanation.top(1)[0][0].index]
    assert re.findall(r"<bdi>(\w+)</bdi>", figure) == [
        f for f, k in zip(small.model.domain.features, kept, strict=True) if k
    ]


def test_patches_of_a_bagnet_are_cut_out_as_well() -> None:
    small = bagnet()
    assert page(one_view(small.model.explain(small.inputs[:1])), ["noise"], top=3).count("<clipPath") == 3


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_png(torch.randint(0, 255, (3, 12, 10), dtype=torch.uint8), str(tmp_path / "a.png"))
    return zoo.save(sop().model, tmp_path / "sop")


def test_groups_and_their_size_on_the_command_line(checkpoint: Path, capsys) -> None:
    out = checkpoint.parent / "out"
    command = ["explain", "--checkpoint", str(checkpoint), "--input", str(checkpoint.parent / "a.png")]
    assert main([*command, "--output", str(out), "--set", "groups=2", "size=0.5"]) == 0
    record = json.loads((out / "a.json").read_text())
    assert len(record["evidence"]) == 2
    assert record["score"] == pytest.approx(sum(row["contribution"] for row in record["evidence"]), abs=1e-4)
    for setting, message in (("groups", "NAME=NUMBER.*got 'groups'"), ("colour=1", "no option 'colour'")):
        assert main([*command, "--output", str(out), "--set", setting]) == 2
        assert re.search(message, capsys.readouterr().err)


def test_words_that_a_selector_hides_are_faded_in_the_text() -> None:
    small = VARIANTS["lex-texts"]()
    explanation = small.model.explain(small.inputs[1:2])
    chosen = torch.zeros_like(explanation.activation)
    chosen[0, 1] = 1
    html = page(replace(explanation, activation=chosen), ["text"])
    (text,) = re.findall(r"<blockquote class='text'>(.*?)</blockquote>", html)
    assert ["faded" not in word for word in re.findall(r"<bdi>.*?</bdi>", text)] == [False, True, False]
