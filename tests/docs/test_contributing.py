"""The model that CONTRIBUTING.md shows is complete: it registers, obeys the contract, and its scores are right."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import zoo
from zoo.core import registry
from zoo.domain import TableDomain

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = TableDomain(classes=("no", "yes"), features=("height", "width", "depth"))


@pytest.fixture
def additive(tmp_path: Path) -> Iterator[type]:
    """The class, in a module of the user's own."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "additive.py").write_text(code)
    spec = importlib.util.spec_from_file_location("additive", tmp_path / "additive.py")
    module = sys.modules["additive"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.Additive
    for table in (registry._entries, registry._classes, registry._small):
        table.pop("additive")
    del sys.modules["additive"]


def test_the_model_of_the_guide(additive: type, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = zoo.create_model("additive", domain=DOMAIN, width=5).eval()
    x = torch.randn(4, 3)
    first, _, second = model.shapes
    expected = model.head.bias.expand(4, -1).clone()
    for k in range(3):  # column by column
        hidden = x[:, k : k + 1] * first.weight[5 * k : 5 * k + 5, 0, 0] + first.bias[5 * k : 5 * k + 5]
        value = hidden.relu() @ second.weight[k, :, 0] + second.bias[k]
        expected = expected + value[:, None] * model.head.weight[:, k]
    torch.testing.assert_close(model(x), expected)
    why = model.explain(x).check()
    assert [unit.name for unit in why.units] == ["height", "width", "depth"]
    zoo.save(model, tmp_path / "saved")
    assert torch.equal(zoo.load(tmp_path / "saved").explain(x).contributions, why.contributions)
    with pytest.raises(ValueError, match="width must be at least 1; got 0"):
        additive(DOMAIN, width=0)
