"""The user's own network: tables and JSON give the same inputs as the command line reads, and errors name the place."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.data import NetworkFiles
from zoo.domain.inputs import inputs_of, read_input


def network() -> dict[str, Any]:
    nodes = [
        {"name": f"n{i}", "age": i, "kind": "ab"[i % 2], "label": ["low", "high", ""][(i // 2) % 3]} for i in range(30)
    ]
    ends = [[f"n{i}", f"n{(i * 7 + 1) % 30}", {"weight": i}] for i in range(29)]
    return {"nodes": nodes, "edges": ends}


def write(folder: Path, made: dict[str, Any]) -> str:
    columns = list(dict.fromkeys(key for node in made["nodes"] for key in node if key != "name"))
    lines = [",".join([n["name"], *(str(n.get(c, "")) for c in columns)]) for n in made["nodes"]]
    (folder / "nodes.csv").write_text("\n".join([",".join(["node", *columns]), *lines]) + "\n")
    lines = [f"{a},{b},{more['weight']}" for a, b, more in made["edges"]]
    (folder / "edges.csv").write_text("\n".join(["source,target,weight", *lines]) + "\n")
    return str(folder)


def test_tables_and_json_give_what_the_command_line_reads(tmp_path: Path) -> None:
    made = network()
    data = NetworkFiles(write(tmp_path, made), val_fraction=0.2)
    (tmp_path / "network.json").write_text(json.dumps(made))
    other = NetworkFiles(str(tmp_path / "network.json"))
    domain = data.make_domain()
    assert domain == other.make_domain() and domain.radius == 2
    assert domain.features == ("age", "kind = a", "kind = b") and domain.edge_features == ("weight",)
    assert domain.classes == ("high", "low")
    items = data.items("train", True)
    assert len(items) + len(data.items("test", False)) == 20  # those with a label
    assert torch.equal(items[0]["input"], other.items("train", True)[0]["input"])
    rows = list(inputs_of([str(tmp_path / "nodes.csv")], domain))
    assert len(rows) == 30
    for i in (0, 3):
        found = read_input(rows[int(items.name(i)[1:])], domain)
        assert torch.equal(found.x, items[i]["input"]) and not found.warnings
        assert domain.graph(found.x, found.text).names[0] == items.name(i)
    assert {str(file.path) for file in inputs_of([str(tmp_path)], domain) if hasattr(file, "path")} == {
        str(tmp_path / "network.json"),
        str(tmp_path / "nodes.csv"),
    }


def test_nodes_to_ask_about_can_be_chosen(tmp_path: Path) -> None:
    made = network()
    domain = NetworkFiles(write(tmp_path, made)).make_domain()
    for node in made["nodes"]:
        node["ask"] = "1" if node["name"] in ("n3", "n8") else ""
    write(tmp_path, made)
    texts = domain.rows(tmp_path / "nodes.csv")
    assert [domain.graph(domain.preprocess(text), text).names[0] for text in texts] == ["n3", "n8"]
    single = tmp_path / "one.json"
    single.write_text(json.dumps(network() | {"centre": "n4"}))
    assert domain.graph(domain.read(single), domain.raw(single)).names[0] == "n4"
    single.write_text(json.dumps(network()))
    with pytest.raises(ValueError, match="has 30 nodes; name one of them under 'centre'"):
        domain.raw(single)


def test_values_can_be_predicted_and_splits_given(tmp_path: Path) -> None:
    made = network()
    for i, node in enumerate(made["nodes"]):
        node |= {"split": "test" if i < 4 else "train", "income": i / 2}
        node.pop("label")
    data = NetworkFiles(write(tmp_path, made), label="income", task="regression", radius=1)
    assert data.make_domain().classes == ("income",) and data.items("test", False).nodes == [0, 1, 2, 3]
    assert data.items("train", True)[0]["target"].tolist() == [2.0]


def change(**of_third: Any) -> dict[str, Any]:
    made = network()
    made["nodes"][3] |= of_third
    return made


@pytest.mark.parametrize(
    ("made", "options", "message"),
    [
        (change(), {"label": "lable"}, "no node has a 'lable'; did you mean 'label'"),
        (change(split="later"), {}, r"nodes.csv, node 'n3': split must be one of train, val, test; got 'later'"),
        (change(), {"task": "regression"}, "node 'n0': the label is 'low'; expected a number"),
        (change(name="n2"), {}, r"nodes.csv.* node 'n2' has no name, or one that occurs twice"),
        (
            network() | {"edges": [["n1", "m2", {"weight": 1}]]},
            {},
            r"edges.csv.* line 2: there is no node 'm2'; there are: n0",
        ),
        (network() | {"edges": [["n1", "n2", {"weight": 1}], ["n2", "n1", {"weight": 3}]]}, {}, "different features"),
    ],
)
def test_errors_say_what_is_wrong(made: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkFiles(write(tmp_path, made), **options).make_domain()


def test_surroundings_that_no_input_has_room_for(tmp_path: Path) -> None:
    made = {"nodes": [{"name": f"n{i}", "label": "ab"[i % 2]} for i in range(4200)], "edges": []}
    made["edges"] = [["n0", f"n{i}", {"weight": 1}] for i in range(1, 4200)]
    with pytest.raises(ValueError, match=r"have up to 4,200 nodes and 4,199 edges; .* Use a smaller `radius`"):
        NetworkFiles(write(tmp_path, made)).make_domain()
