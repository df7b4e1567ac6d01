"""`train.py interchange`: swaps nodes between the two prompts of a task, and measures how far the answer follows."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo
from zoo.checkpoints.pretrained import find
from zoo.circuits.analysis.interchange import interchange, pairs_of_equal_length, rank_nodes
from zoo.circuits.analysis.token_pair_task import TokenPairTask, evaluate_task
from zoo.circuits.network.circuit import Circuit
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.cli.arguments import CommandParser, positive
from zoo.cli.checkpoint_data import default_device
from zoo.cli.circuit import token_pairs
from zoo.data.synthetic.code_tasks import find_task
from zoo.domain import CodeDomain
from zoo.utils.printable import printable


def interchange_nodes(arguments: list[str]) -> int:
    """Gives each node the value that it has on the other prompt of a pair, and measures how far the answer follows.

    Writes TASK-interchange.json. Without --node, the nodes are those with the largest estimated effects: of the circuit
    with --circuit, otherwise of the network.
    """
    options = make_parser().parse(arguments)
    task = find_task(options.task)
    model = zoo.load(options.checkpoint)
    if not isinstance(model, SparseTransformer):
        raise ValueError(
            f"{options.checkpoint} is a {type(model).__name__}; interchange requires a sparse_transformer."
        )
    model.to(options.device or default_device())
    circuit = None if options.circuit is None else Circuit.load(options.circuit)
    assert isinstance(model.domain, CodeDomain)
    given = token_pairs(task, model.domain, options.pairs, "held_out", options.seed)
    pairs = pairs_of_equal_length(given)
    if not len(pairs):
        raise ValueError(
            f"the two prompts of every pair of '{task.name}' have different numbers of tokens, so their positions do "
            "not correspond; choose another task."
        )
    nodes = [model.network.layout.number(name) for name in options.node or ()]
    nodes = nodes or top_nodes(model, pairs, circuit, options.top)
    record = {"task": task.name, "pairs": len(pairs) // 2, "left_out": (len(given) - len(pairs)) // 2}
    record |= measure(model, pairs, nodes, circuit)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"{task.name}-interchange.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{text(record)}\n-> {printable(path)}")
    return 0


def top_nodes(model: SparseTransformer, pairs: TokenPairTask, circuit: Circuit | None, top: int) -> list[int]:
    """Numbers of the nodes with the largest estimated effects."""
    ranks = rank_nodes(model, pairs, circuit).flatten()
    return ranks.topk(min(top, int((ranks != 0).sum()))).indices.tolist()


def measure(
    model: SparseTransformer, pairs: TokenPairTask, nodes: list[int], circuit: Circuit | None
) -> dict[str, Any]:
    """Scores without an interchange, the effect of each node, and of all together."""
    network = model.network

    def effect(some: list[int]) -> dict[str, float]:
        mask: Tensor = torch.zeros(model.means.numel(), dtype=torch.bool)
        mask[some] = True
        return interchange(model, pairs, mask.view(model.means.shape), circuit)._asdict()

    return {
        "within": "network" if circuit is None else "circuit",
        "scores": evaluate_task(network, pairs.to(model.device), circuit and circuit.ablation(network)),
        "nodes": [{"node": network.layout.name(node), **effect([node])} for node in nodes],
        "together": effect(nodes),
    }


def text(record: dict[str, Any]) -> str:
    """The record as a table."""
    scores, left_out = record["scores"], record["left_out"]
    unequal = f" ({left_out} of unequal lengths left out)" if left_out else ""
    head = (
        f"{record['task']}: {record['pairs']} held-out pairs{unequal}; {record['within']} without an interchange: loss "
        f"{scores['loss']:.3f}, accuracy {scores['accuracy']:.0%}"
    )
    rows = [(row["node"], row) for row in record["nodes"]] + [("all of these together", record["together"])]
    lines = [f"{row['moved']:7.0%}  {row['flipped']:7.0%}  {name}" for name, row in rows]
    return "\n".join([head, "  moved  flipped  node", *lines])


def make_parser() -> CommandParser:
    """The options of the command."""
    parser = CommandParser("interchange", interchange_nodes.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="name or folder of a sparse_transformer")
    parser.add_argument("--task", required=True, help="one of `train.py list tasks`")
    parser.add_argument("--node", nargs="+", help="names of nodes, such as 'layer 0 attn_out 17'")
    parser.add_argument("--circuit", type=Path, help="circuit of `train.py prune`, outside which all is ablated")
    parser.add_argument("--top", default=10, type=positive, help="number of nodes without --node (default: 10)")
    parser.add_argument("--pairs", default=64, type=positive, help="pairs of prompts (default: 64)")
    parser.add_argument("--output", default=Path("out"), type=Path, help="folder of the JSON file (default: out)")
    parser.add_argument("--seed", default=0, type=int, help="of the pairs (default: 0)")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda if available)")
    return parser
