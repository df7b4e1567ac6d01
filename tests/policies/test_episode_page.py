"""The page of an episode shows what the policy did and why, as numbers that add up."""

import json
import re

import pytest
import torch

from tests.small_models import prototype_policy, rows_of_table, viper_tree
from zoo.cli.play import page_of
from zoo.data import Control
from zoo.policies import NAMPolicy
from zoo.views.episode import episode_page


def data_of_page(page: str) -> dict:
    found = re.search(r"<script type='application/json' id='episode-data'>(.*?)</script>", page, re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.mark.parametrize("name", ["mountaincar", "pendulum"])
def test_terms_add_up_and_actions_are_those_of_the_policy(name: str) -> None:
    torch.manual_seed(0)
    data = Control(name, rows=10)
    model = NAMPolicy(data.domain, units=3, hidden=(), points=4).eval()
    page, total, steps = page_of(model, data, 0, "a <b> policy")
    assert "a &lt;b&gt; policy" in page and page.count("<script") == 2
    found = data_of_page(page)
    assert len(found["steps"]) == steps == 200 and found["steps"][-1]["sum"] == pytest.approx(total, abs=1e-2)
    for step in found["steps"][::40]:
        for c, score in enumerate(step["scores"]):
            assert step["bias"][c] + sum(e[c] for e in step["effects"]) == pytest.approx(score, abs=1e-3)
        x = torch.tensor([step["observed"]]) / torch.tensor(data.world.scale)
        score = model(x)[0].detach()
        assert step["action"] == int(score.argmax())
        if found["continuous"]:
            assert step["value"] == pytest.approx(float(score.clamp(-2, 2)), abs=1e-2) and step["rival"] is None
    assert found["world"] == name and f"{found['world']}: function" in page  # the script draws it


def test_rules_are_shown() -> None:
    small, x = viper_tree(), rows_of_table()
    why = small.model.explain(x, every_class=True, reference="zero")
    found = data_of_page(episode_page("t", why, torch.zeros(5, 4), torch.arange(5), "cartpole"))
    assert [step["rule"] for step in found["steps"]] == list(why.statements)
    for step, on in zip(found["steps"], why.activation.tolist(), strict=True):
        assert [name for name, a in zip(found["units"], step["active"], strict=True) if a] == [
            unit.name for unit, a in zip(why.units, on, strict=True) if a == 1
        ]
        assert all((said in ("yes", "no")) == active for said, active in zip(step["said"], step["active"], strict=True))
    with pytest.raises(ValueError, match="every_class"):
        episode_page("t", small.model.explain(x), torch.zeros(5, 4), torch.arange(5), "cartpole")


def test_states_of_prototypes_are_told() -> None:
    small = prototype_policy()
    why = small.model.explain(small.inputs, every_class=True, reference="zero")
    found = data_of_page(episode_page("t", why, torch.zeros(5, 4), torch.arange(5), "cartpole"))
    for text, unit in zip(found["about"], why.units, strict=True):
        assert text == ", ".join(f"{name} {value:.3g}" for name, value in unit.source["observation"].items())
