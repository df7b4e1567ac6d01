"""Explanations in words: exact numbers, every kind of answer, and languages as files."""

import re
import tomllib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import torch
import yaml

from tests.small_models import BACKBONES, CLIPS, SMALL, build
from tests.views.test_text import of_terms
from zoo.core.counterfactual_search import search_counterfactuals
from zoo.core.evidence import Unit
from zoo.domain import TableDomain
from zoo.selectors import LEX
from zoo.views.html import page
from zoo.views.language import FOLDER, languages

EN = yaml.safe_load((FOLDER / "en.yaml").read_text(encoding="utf-8"))
VALUES = TableDomain(classes=("price",), features=("size",), task="regression")


def test_by_hand() -> None:
    one = of_terms([0.5, -2.0, 0.25, 0.125], 1.0)
    assert one.sentence(top=1) == (
        "The answer is “circle”, with a probability of 66.5%. The strongest reasons for it: “thing 0” (+0.500). "
        "Against it: “thing 1” (−2.000). The other reasons (2) add +0.375. The starting value is 1.000."
    )
    assert one.sentence("de", top=1) == (
        "Die Antwort ist „circle“, mit einer Wahrscheinlichkeit von 66,5 %. Die stärksten Gründe dafür: „thing 0“ "
        "(+0,500). Dagegen: „thing 1“ (−2,000). Die übrigen Gründe (2) ergeben zusammen +0,375. Der Ausgangswert ist "
        "1,000."
    )
    assert "Nothing speaks for it. Against it: “thing 0” (−1.000)." in of_terms([-1.0], 0.0).sentence()
    assert "“thing 0” (+1.000). Nothing speaks against it." in of_terms([1.0, 0.0], 0.0).sentence()
    assert "Rounding adds +0.001." in of_terms([1.0004, 1.0004], 0.0).sentence()


@pytest.mark.parametrize("name", SMALL)
def test_numbers_of_every_model_add_up(name: str) -> None:
    """All terms, the rest and the starting value sum to the relative score, as printed."""
    small = SMALL[name]()
    told = small.model.explain(small.inputs[:2])
    told = search_counterfactuals(small.model, told)
    lines = told.sentence().split("\n")
    assert len(lines) == 2 and told.sentence() == told.sentence() and len(told.sentence("de").split("\n")) == 2
    for one, line in zip(told, lines, strict=True):
        assert f"“{one.target_names[0]}”" in line or "\\" in repr(one.target_names[0])
        if one.contributions is None:
            assert "have no contributions" in line and "(+" not in line
            continue
        numbers = re.findall(
            r"\(([+−][\d.]+)\)|add ([+−][\d.]+)\.(?= |$)|adds ([+−][\d.]+)\.|value is (−?[\d.]+)\.(?= |$)", line
        )
        total = sum(Decimal("".join(found).replace("−", "-")) for found in numbers)
        digits = max((len("".join(found).split(".")[1]) for found in numbers), default=3)
        assert abs(total - Decimal(one.relative_score.item())) <= Decimal("0.5001").scaleb(-digits)
        assert re.search(r"Without|If |No removal|No change", line)


def test_raw_values_and_what_kinds_say() -> None:
    assert "“width = 0.661352”" in (SMALL["ga2m"]().model.explain(SMALL["ga2m"]().inputs[:1])).sentence()
    rules = SMALL["scoring"]()
    assert "(true) (+" in rules.model.explain(rules.inputs).sentence()
    assert "(wahr) (+" in rules.model.explain(rules.inputs).sentence("de")
    concepts = SMALL["cbm"]()
    said = concepts.model.explain(concepts.inputs[:1]).sentence()
    assert re.search(r"“round” \(53\.\d% present\) \(\+", said) and "If “blue” were present, the answer would" in said
    prototypes = SMALL["protopnet"]()
    assert "similarity to “star #2”" in prototypes.model.explain(prototypes.inputs[:1]).sentence()


def test_a_value_says_what_it_would_be_without() -> None:
    units = (Unit("size", "feature"), Unit("age", "feature"))
    one = of_terms([2.0, -0.5], 1.0)
    one = replace(one, scores=torch.tensor([[2.5]]), domain=VALUES, space="value", units=units)
    assert one.sentence() == (
        "“price” is 2.500. It is raised most by “size” (+2.000). It is lowered most by “age” (−0.500). The starting "
        "value is 1.000. Without “size”, it would be 0.500."
    )


def test_tags_margins_and_classes_that_were_asked_for() -> None:
    tags = build("attention_pool", domain=replace(CLIPS, task="multilabel"), backbone=BACKBONES["audio"])
    said = [one.sentence() for target in range(3) for one in tags.model.explain(tags.inputs, target)]
    kinds = [
        (r"“\w+” is present, with a probability of", "absent"),
        (r"“\w+” is absent: its probability is", "present"),
    ]
    for start, then in kinds:
        found = [line for line in said if re.match(start, line)]
        assert found and all(f"would be {then}. No smaller" in line or "No removal" in line for line in found)
    assert any("would be" in line for line in said)
    small = SMALL["protopnet"]()
    told = small.model.explain(small.inputs[:1])
    asked = small.model.explain(small.inputs[:1], int(told.runner_up))
    assert asked.sentence().startswith("The answer is “star”; asked was why “circle” has the score ")
    assert "“circle” would come before “star”" in asked.sentence()
    assert "the other score would be higher. No smaller set" in told.versus(asked).sentence()


def test_what_a_selector_selected() -> None:
    torch.manual_seed(0)
    small = SMALL["lex"]()
    assert isinstance(small.model, LEX)
    said = small.model.explain(small.inputs).sentence().split("\n")
    assert any(re.search(r"The model read “\w+ = [-\d.]+”: 1 of 3 parts\.", line) for line in said)
    nothing = small.model.explain(small.inputs[:1])
    nothing = replace(nothing, activation=torch.zeros_like(nothing.activation))
    assert "The model read none of the 3 parts." in nothing.sentence()


def test_hostile_names_stay_text() -> None:
    """A name is filled in as it is: neither a format of Python nor a control character nor markup."""
    one = replace(of_terms([1.0], 0.0), units=(Unit("{target.__class__} \x1b[31m<b>", "concept"),))
    assert "“{target.__class__} \\x1b[31m<b>”" in one.sentence()
    assert "&lt;b&gt;”" in page(one, ["x"]) and "<p class='sentence' lang='en'>" in page(one, ["x"])
    assert "<p class='sentence' lang='de'>Die Antwort" in page(one, ["x"], locale="de")


def test_every_language_has_every_text() -> None:
    assert {"de", "en"} <= set(languages())
    for code in languages():
        assert of_terms([1.0], 0.0).sentence(code)  # reading it checks keys and words


def written(folder: Path, texts: dict) -> str:
    (folder / "xx.yaml").write_text(yaml.safe_dump(texts), encoding="utf-8")
    return str(folder / "xx.yaml")


def test_a_file_is_a_language(tmp_path: Path) -> None:
    own = written(tmp_path, EN | {"no_for": "Rien.", "decimal": ","})
    assert "Rien. Against it: “thing 0” (−1,000)." in of_terms([-1.0], 0.0).sentence(own)
    assert "lang='xx'" in page(of_terms([-1.0], 0.0), ["x"], locale=own)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fixed": None}, r"xx.yaml has no 'fixed' \(1 keys are missing\); add it, as in en.yaml"),
        ({"fixd": "x"}, r"has the key 'fixd'; did you mean 'fixed'"),
        ({"rest": "{sum.real}"}, r"'rest' fills in '\{sum.real\}', which is not .* fill in: \{count\}, \{sum\}"),
        ({"rest": "{sum!r}"}, "which is not known there"),
        ({"rest": "{bias}"}, "which is not known there"),
        ({"rest": "{sum"}, "not a text with words in braces"),
        ({"rest": 3}, "'rest' must be a text of at most 2,000 characters; got 3"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, change: dict, message: str) -> None:
    texts = {key: text for key, text in (EN | change).items() if text is not None}
    with pytest.raises(ValueError, match=message):
        of_terms([1.0], 0.0).sentence(written(tmp_path, texts))


def test_unknown_languages_are_told(tmp_path: Path) -> None:
    one = of_terms([1.0], 0.0)
    with pytest.raises(ValueError, match=r"no language 'ed'.*Another one is a YAML file"):
        one.sentence("ed")
    with pytest.raises(FileNotFoundError, match="no YAML file"):
        one.sentence(str(tmp_path / "no.yaml"))
    with pytest.raises(ValueError, match="top must be at least 1; got 0"):
        one.sentence(top=0)
    (tmp_path / "l.yaml").write_text("- a")
    with pytest.raises(ValueError, match="must be a mapping"):
        one.sentence(str(tmp_path / "l.yaml"))


def test_the_wheel_holds_the_languages() -> None:
    root = FOLDER.parents[2]
    told = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["zoo.views"]
    assert {path for pattern in told for path in FOLDER.parent.glob(pattern)} == set(FOLDER.iterdir())
