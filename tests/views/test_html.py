"""Pages: well-formed, self-contained, safe with any name, right in their numbers, and small."""

import base64
import hashlib
import re
from dataclasses import replace
from decimal import Decimal
from urllib.parse import unquote

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.small_models import cbm, protopnet
from tests.views.pages import Read, explanation, smooth
from zoo.core.evidence import Unit
from zoo.domain import Domain, ImageDomain
from zoo.utils.printable import printable
from zoo.views.html import fragment, index_page, page
from zoo.views.vocabulary import vocabulary_page

HOSTILE = [
    "<script>alert(1)</script>",
    "a'b\"c",
    "' onmouseover='alert(1)",
    "</bdi></h2>&amp;",
    "🐦 Zaunkönig",
    "שלום عالم",
    "\u202eright to left",
    "<!-- -->",
]


def sums(text: str) -> list[tuple[list[Decimal], Decimal]]:
    """(terms, total) of each printed sum line."""
    found = []
    for line in re.findall(r"<p class='sum' aria-label.*?</p>", text):
        numbers = [
            Decimal(n.replace("\u2212", "-")) for n in re.findall(r"<span[^>]*>(?:= )?([+\u2212]?[\d.]+)<", line)
        ]
        found.append((numbers[:-1], numbers[-1]))
    return found


def test_page_has_everything_and_is_well_formed() -> None:
    made = explanation()
    read = Read(page(made, ["a.png", "b.png"], top=5))
    assert read.tags.count("article") == 2 and read.tags.count("li") == 12  # the others are one more
    identities = [value for name, value in read.attributes if name == "id"]
    assert len(identities) == len(set(identities)) == 4
    targets = {value.lstrip("#") for name, value in read.attributes if name in ("href", "aria-labelledby")}
    assert {t for t in targets if not t.startswith("data:")} <= set(identities)  # links lead somewhere
    shown = read.within("bdi")
    assert {"a.png", "b.png", "wren", "robin", "crow", "train/1.jpg"} <= set(shown)
    for row in made.top(5):
        assert {term.unit.name for term in row} <= set(shown)
    assert [read.within("figcaption").count(text) for text in ("this", "looks like that")] == [10, 10]


def test_pages_need_neither_network_nor_script() -> None:
    for text in (page(explanation(), ["a", "b"]), explanation()._repr_html_(), index_page([("a.html", "a")])):
        read = Read(text)
        links = [value for name, value in read.attributes if name in ("src", "href", "srcset", "xlink:href", "action")]
        assert links and all(value.startswith(("data:image/", "#", "./a.html")) for value in links)
        assert "http:" not in re.sub(r"base64,[\w+/=]*", "", text)
        assert not {"script", "iframe", "link", "object", "embed", "base"} & set(read.tags)
        assert "url(" not in text and "@import" not in text
        assert not any(name.startswith("on") for name, _ in read.attributes)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_as_they_are_and_never_as_markup(name: str) -> None:
    base = explanation(1, 2)
    units = tuple(replace(u, name=f"{name} {k}", source={**u.source, "image": name}) for k, u in enumerate(base.units))
    made = replace(base, units=units, domain=replace(base.domain, classes=(name, "b", "c")))
    plain = Read(page(base, ["a"], heading="Why?"))
    read = Read(page(made, [name], heading=name))
    assert read.tags == plain.tags  # a name that was read as markup would add elements,
    assert [n for n, _ in read.attributes] == [n for n, _ in plain.attributes]  # or attributes
    shown, name = read.within("bdi"), printable(name)  # what turns the direction of text is shown as an escape
    assert shown.count(name) >= 4  # title, answer, class of a unit, source: isolated from the direction around
    assert f"{name} 0" in shown and f"{name} 1" in shown
    assert name in read.within("h1") and name in read.within("title")
    labels = [value for key, value in read.attributes if key == "aria-label"]
    assert f"input {name}" in labels and f"location of {name} 0 in the input" in labels


@pytest.mark.parametrize("name", ["javascript:alert(1)//.html", "a#b?c%20d'e&f.html", "C:x.html", "übung 1.html"])
def test_links_lead_to_the_file_of_that_name(name: str) -> None:
    """Regression: links broke on "#?%:", and a file named "javascript:..." became a link that ran."""
    link = dict(Read(index_page([(name, "a")])).attributes)["href"]
    assert link.startswith("./") and unquote(link) == f"./{name}" and not set("#?:'") & set(link)


def test_pages_allow_no_script_but_their_own() -> None:
    """Every page has a policy; the scripts in it are exactly those whose hash the policy gives."""
    model = cbm()
    told = model.model.explain(model.inputs[:1], every_class=True)
    units = model.model.units()
    for text in (page(told, ["a"]), index_page([]), vocabulary_page("a", units, model.model.domain)):
        assert text.index("Content-Security-Policy") < text.index("<title>") < text.index("<style>")
        policy = text.partition('content="')[2].partition('"')[0]
        assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src ")
        scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
        assert re.findall(r"'sha256-([^']+)'", policy) == digests and ("'none'; base" in policy) == (not scripts)


@given(name=st.text(max_size=30).filter(lambda s: "\0" not in s and "\r" not in s))
def test_any_text_is_a_name(name: str) -> None:
    base = explanation(1, 1, inputs=None, support=None)
    read = Read(page(base, [name], heading=name))
    assert read.tags == Read(page(base, ["a"], heading="a")).tags
    assert "".join(read.within("h1")) == printable(name, keep="\n\t")


@given(seed=st.integers(0, 2**31), top=st.integers(0, 8), scale=st.sampled_from([0.001, 1.0, 1000.0]))
def test_printed_numbers_add_up_exactly(seed: int, top: int, scale: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    contributions, bias = torch.randn(1, 6, generator=draw) * scale, torch.randn(1, generator=draw) * scale
    score = (contributions.sum(1) + bias)[:, None]
    made = explanation(
        1, 6, contributions=contributions, bias=bias, scores=score.expand(1, 3), inputs=None, support=None
    )
    [(terms, total)] = sums(page(made, ["a"], top))
    assert sum(terms) == total
    assert abs(total - Decimal(score.item())) <= Decimal("0.0005")
    assert len(terms) - 1 <= min(top, 6) + 1  # bias, the terms that are not printed as 0, and the others or rounding


def test_zero_is_printed_without_a_minus() -> None:
    """A contribution of -0.0 was once printed with both signs."""
    zeros = torch.tensor([[-0.0, 1.0]])
    text = page(explanation(1, 2, contributions=zeros, bias=torch.tensor([-0.0]), scores=torch.ones(1, 3)), ["a"])
    assert "+\u2212" not in text and "\u22120.000<" not in text


def test_weights_and_bars_belong_to_their_terms() -> None:
    made = explanation(1, 2, contributions=torch.tensor([[-4.0, 1.0]]), activation=torch.tensor([[2.0, 0.5]]))
    first, second = re.findall(r"<li>.*?</li>", page(made, ["a"]))
    assert (
        "wren #0" in first and "<b>2.000</b> similarity × <b>\u22122.000</b> weight <span>= <b>\u22124.000</b>" in first
    )
    assert "class='down' style='width:50.0%'" in first
    assert "wren #1" in second and "<b>0.500</b> similarity × <b>+2.000</b> weight <span>= <b>+1.000</b>" in second
    assert "class='up' style='width:12.5%'" in second


def test_more_terms_than_units_and_none_at_all() -> None:
    made = explanation(1, 3)
    assert Read(page(made, ["a"], top=50)).tags.count("li") == 3
    none = Read(page(made, ["a"], top=0))
    assert none.within("h4") == ["3 other units"] and "3 others" in none.within("small")


def test_units_without_pictures_or_places() -> None:
    bare = tuple(Unit(f"concept {k}", "concept") for k in range(4))
    for changes in ({}, {"support": None}, {"inputs": None}, {"support": None, "inputs": None}):
        made = replace(explanation(1, 4, **changes), units=bare)
        read = Read(page(made, ["a"]))
        assert read.tags.count("li") == 4 and "looks like that" not in read.within("figcaption")
        assert ("location" in read.within("figcaption")) == (not changes)
        assert ("image" in read.tags) == ("inputs" not in changes)


def test_support_over_something_else_than_a_picture() -> None:
    read = Read(page(explanation(1, 4, support=torch.rand(1, 4, 7)), ["a"]))  # tokens, say
    assert "this" not in read.within("figcaption")


def test_inputs_that_are_no_pictures_show_those_of_the_units_alone() -> None:
    read = Read(page(explanation(1, 4, domain=Domain(classes=("a", "b", "c"))), ["a"]))
    assert read.within("figcaption") == ["training example"] * 4
    assert read.tags.count("image") == 4


def test_non_additive_ranks_by_activation_and_says_so() -> None:
    made = explanation(1, 3, contributions=None, bias=None, activation=torch.tensor([[0.1, 0.9, 0.5]]))
    text = page(made, ["a"])
    read = Read(text)
    order = [name for name in read.within("bdi") if name.startswith("wren #")]
    assert order == ["wren #1", "wren #2", "wren #0"]
    assert "not additive" in text and "weight" not in "".join(read.within("p")) and not sums(text)


def test_values_of_a_regression_have_no_probabilities() -> None:
    domain = ImageDomain(classes=("age", "height", "mass"), size=(32, 32), task="regression")
    read = Read(page(explanation(1, 3, domain=domain, space="value"), ["a"]))
    assert "table" not in read.tags and "value of age" in read.within("bdi")


def test_why_this_and_not_that_has_a_page() -> None:
    small = protopnet()
    mine, theirs = (small.model.explain(small.inputs, target) for target in ("star", "circle"))
    text = page(mine.versus(theirs), list("abcde"))
    assert Read(text).within("bdi").count("star rather than circle (0)") >= 1
    for terms, total in sums(text):
        assert sum(terms) == total


def test_titles_must_name_the_rows() -> None:
    with pytest.raises(ValueError, match="titles must have one entry for each of 2 rows; got 1"):
        page(explanation(), ["a"])


def test_ten_large_pictures_make_less_than_two_megabytes() -> None:
    made = explanation(10, 10, size=224)
    pictures = smooth(10, 96)
    units = tuple(replace(unit, picture=picture) for unit, picture in zip(made.units, pictures, strict=True))
    text = page(replace(made, units=units, support=torch.rand(10, 10, 7, 7)), [f"{i}.jpg" for i in range(10)], top=10)
    assert text.count("data:image/jpeg") == 10 + 100  # the input once, however often it is shown, and the patches
    assert text.count("data:image/png") == 100  # the heat of each unit
    assert 100_000 < len(text.encode()) < 2_000_000


def test_only_the_pictures_that_are_shown_are_encoded() -> None:
    text = page(explanation(1, 2000), ["a"], top=5)
    assert text.count("data:image/") == 1 + 2 * 5


def test_notebooks_show_fragments_that_do_not_clash() -> None:
    small = protopnet()
    first, second = small.model.explain(small.inputs[:2]), small.model.explain(small.inputs[2:])
    assert first._repr_html_() == fragment(first)
    read = Read(first._repr_html_() + second._repr_html_())
    assert read.tags.count("article") == 5 and not {"html", "body", "main"} & set(read.tags)
    identities = [value for name, value in read.attributes if name == "id"]
    assert len(identities) == len(set(identities))
    assert first._repr_html_() == first._repr_html_()  # names follow from the content, so saved notebooks stay equal


def test_fragments_show_the_first_rows_and_say_how_many_there_are() -> None:
    read = Read(fragment(explanation(13), top=1))
    assert read.tags.count("article") == 10
    assert any("3 more rows" in text for text in read.within("p"))


def test_the_same_input_twice_has_two_names() -> None:
    one = explanation(1)
    tensors = ("scores", "target", "contributions", "bias", "activation", "support", "inputs")
    twice = replace(one, **{name: getattr(one, name).repeat_interleave(2, 0) for name in tensors})
    identities = [value for name, value in Read(page(twice, ["a", "a"])).attributes if name == "id"]
    assert len(identities) == len(set(identities)) == 4


def test_a_target_that_is_not_the_answer_is_named_as_such() -> None:
    names = tuple("abcdefgh")
    scores = torch.arange(8.0)[None].repeat(2, 1)
    domain = replace(explanation().domain, classes=names)
    made = explanation(2, 1, scores=scores, target=torch.tensor([0, 7]), domain=domain, inputs=None, support=None)
    asked, answered = (Read(page(one, ["x"])) for one in made)
    assert any("The model predicts" in text for text in asked.within("p")) and "h" in asked.within("bdi")
    assert not any("The model predicts" in text for text in answered.within("p"))
    assert asked.tags.count("tr") == 6 and answered.tags.count("tr") == 5  # the target is never left out
    assert "top 5 of 8 classes: logit, probability" in asked.within("caption")
    assert "0.1% · logit 0.000" in asked.within("span")
