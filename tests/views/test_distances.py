"""Contributions by feature and distance: the numbers on a page are those of the model, and add up."""

import re
from dataclasses import replace

import pytest
import torch

from tests.small_models import build
from zoo.core.distance_functions import HasDistanceFunctions
from zoo.core.explanation import Explanation
from zoo.domain import GraphDomain
from zoo.graphs.gnan import GNAN
from zoo.views.distances import model_by_distance
from zoo.views.html import fragment, page


def numbers(html: str) -> list[list[float]]:
    """The cells of each row of a table."""
    rows = re.findall(r"<tr><th scope='row'>.*?</tr>", html)
    return [[float(cell.replace("−", "-")) for cell in re.findall(r"<td[^>]*>([^<]+)</td>", row)] for row in rows]


def explained() -> Explanation:
    small = build("gnan")
    return small.model.explain(small.inputs, 1, reference="zero")[0]


def test_the_table_of_an_explanation_adds_up() -> None:
    one = explained()
    html = page(one, ["a graph"])
    *rows, total = numbers(html[html.index("By feature and distance") : html.index("<h3>Evidence")])
    names = re.findall(
        r"<th scope='row'><bdi>([^<]+)</bdi>", html[html.index("By feature") : html.index("<h3>Evidence")]
    )
    contributions = dict(zip([unit.name for unit in one.units], one.contributions[0].tolist(), strict=True))
    assert sorted(names) == sorted(contributions)
    for name, row in zip(names, rows, strict=True):
        assert row[-1] == pytest.approx(contributions[name], abs=2e-3)
        assert row[-1] == pytest.approx(sum(row[:-1]), abs=5e-3)
    assert total[-1] == pytest.approx(float(one.scores[0, 1] - one.bias[0]), abs=2e-3)
    assert [abs(row[-1]) for row in rows] == sorted((abs(row[-1]) for row in rows), reverse=True)
    assert ".distances td" in html and ".distances td" in fragment(one)
    small = build("sum_gin")
    assert "distances" not in page(small.model.explain(small.inputs)[0], ["a graph"])


def test_all_terms_of_a_model_are_shown() -> None:
    domain = GraphDomain(
        classes=("a", "b", "<c>"),
        features=("element = C", "mass", "flag"),
        mean=(0.0, 3.0, 0.25),
        std=(1.0, 2.0, (0.25 * 0.75) ** 0.5),
        nodes=4,
        edges=4,
    )
    torch.manual_seed(0)
    model = GNAN(domain, hidden=3, furthest=2)
    assert isinstance(model, HasDistanceFunctions) and not isinstance(build("sum_gin").model, HasDistanceFunctions)
    found = model.distance_functions()
    assert found.units == ("nodes", "element = C", "mass", "flag", "degree") and found.outputs == domain.classes
    assert [len(places) for places in found.places] == [1, 2, 41, 2, 6]
    assert (found.places[2][0], found.places[2][20], found.places[2][-1]) == (-1.0, 3.0, 7.0)
    html = model_by_distance(found)
    assert html.count("<polyline") == 3 * 3 and "&lt;c&gt;" in html and "<c>" not in html
    rows = numbers(html)[: 1 + 2 + 5 + 2 + 6]  # of the first class
    expected = model.function("mass", torch.tensor([-1.0]))[0, 0] * model.profile()[:, 0]
    torch.testing.assert_close(torch.tensor(rows[3]), expected, atol=1e-3, rtol=0)
    two = GNAN(replace(domain, classes=("a", "b")), hidden=3, furthest=1).distance_functions()
    assert two.outputs == ("log-odds of b",)


def test_numbers_of_atoms_are_whole() -> None:
    names = ("charge", "hydrogens")
    domain = GraphDomain(
        classes=("a", "b"), features=names, mean=(0.0, 1.4), std=(0.1, 1.1), nodes=3, edges=3, smiles="s"
    )
    assert GNAN(domain, hidden=2).distance_functions().places[1:3] == ((-1.0, 0.0, 1.0), (0.0, 1.0, 2.0, 3.0, 4.0))
