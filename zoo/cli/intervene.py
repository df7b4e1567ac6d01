"""`train.py intervene`: changes nodes, channels, heads or edges, and measures how far the answers follow."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zoo
from zoo.checkpoints.pretrained import find
from zoo.circuits.analysis.attribution import rank_nodes
from zoo.circuits.analysis.intervene import AMOUNTS, VALUES, Intervention, intervene
from zoo.circuits.analysis.story import Story, outcomes_text
from zoo.circuits.analysis.token_pair_task import TokenPairTask, evaluate_task
from zoo.circuits.network.circuit import Circuit
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.cli.arguments import CommandParser, positive
from zoo.cli.checkpoint_data import default_device
from zoo.cli.stories import held_out_pairs, run_story
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json
from zoo.utils.printable import LINES, printable

HELPS = {
    "swap": "values on the other prompt of the pair (interchange)",
    "mean": "means over the training windows",
    "zero": "zeros",
    "resample": "values at random tokens of the prompts",
    "add": "values plus a number, as 'channel 3=2.5' (steering)",
    "scale": "values times a number, as 'layer 0 head 1=0.5'",
}


def intervene_on_places(arguments: list[str]) -> int:
    """Gives places of a network other values, and measures how far the answers of a task follow.

    A place is 'layer 0 attn_out 17' (a node), 'layer 0 neuron 17', 'layer 0 head 1', 'layer 0 head 1 channel 3',
    'channel 17' or 'layer 0 channel 17' (of the residual stream), 'layer 0 attn_out' (all nodes of a site), or
    'layer 0 attn_in 3 -> layer 0 attn_q 5' (an edge).

    Measures each place and all together, and writes TASK-intervene.json. Without places, it swaps the nodes with the
    largest estimated effects: of the circuit with --circuit, otherwise of the network. With --story, it makes the
    experiments of a file; the exit code is 1 if one measures another effect than the file expects.
    """
    options = make_parser().parse(arguments)
    model = zoo.load(options.checkpoint)
    if not isinstance(model, SparseTransformer):
        raise ValueError(f"{options.checkpoint} is a {type(model).__name__}; intervene requires a sparse_transformer.")
    model.to(options.device or default_device())
    circuit = None if options.circuit is None else Circuit.load(options.circuit)
    if options.story is not None:
        return _tell(model, options, circuit)
    if options.task is None:
        raise ValueError("intervene needs --task, one of `train.py list tasks`, or --story FILE.")
    asked = interventions_of(options)
    swaps = not asked or any(one.kind == "swap" for one in asked)
    pairs, left_out = held_out_pairs(model, options.task, options.pairs, options.seed, equal=swaps)
    asked = asked or top_nodes(model, pairs, circuit, options.top)
    record = {"task": options.task, "pairs": len(pairs) // 2, "left_out": left_out}
    record |= measure(model, pairs, asked, circuit, options.seed)
    _write(record, options.output, f"{options.task}-intervene.json", text(record))
    return 0


def _tell(model: SparseTransformer, options: Namespace, circuit: Circuit | None) -> int:
    if options.task or interventions_of(options):
        raise ValueError("--story has its own task and interventions; leave out --task and the interventions.")
    story = Story.load(options.story)
    outcomes = run_story(model, story, circuit)
    record = {"task": story.task, "experiments": [outcome.to_dict() for outcome in outcomes]}
    _write(record, options.output, f"{story.task}-story.json", outcomes_text(outcomes))
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def _write(record: dict[str, Any], folder: Path, name: str, shown: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / name, to_json(record, indent=1))
    print(f"{printable(shown, keep=LINES)}\n-> {printable(folder / name)}")


def interventions_of(options: Namespace) -> list[Intervention]:
    """One intervention for each place that the options name, kind by kind."""
    found = [Intervention(kind, {name: 1.0}) for kind in VALUES for name in getattr(options, kind) or ()]
    for kind in AMOUNTS:
        for given in getattr(options, kind) or ():
            name, _, number = given.rpartition("=")
            try:
                found.append(Intervention(kind, {name.strip(): float(number)}))
            except ValueError as error:
                raise ValueError(f"--{kind} expects 'PLACE=NUMBER', as 'channel 3=2.5'; got '{given}'.") from error
    return found


def top_nodes(model: SparseTransformer, pairs: TokenPairTask, circuit: Circuit | None, top: int) -> list[Intervention]:
    """Swaps of the nodes with the largest estimated effects."""
    ranks = rank_nodes(model, pairs, circuit).flatten()
    nodes = ranks.topk(min(top, int((ranks != 0).sum()))).indices.tolist()
    return [Intervention("swap", {model.network.layout.name(node): 1.0}) for node in nodes]


def measure(
    model: SparseTransformer,
    pairs: TokenPairTask,
    interventions: Sequence[Intervention],
    circuit: Circuit | None,
    seed: int,
) -> dict[str, Any]:
    """Scores without an intervention, the effect of each, and of all together."""
    network = model.network
    each = [
        {"kind": one.kind, "targets": dict(one.targets), **intervene(model, pairs, [one], circuit, seed)._asdict()}
        for one in interventions
    ]
    return {
        "within": "network" if circuit is None else "circuit",
        "scores": evaluate_task(network, pairs.to(model.device), circuit and circuit.ablation(network)),
        "interventions": each,
        "together": intervene(model, pairs, interventions, circuit, seed)._asdict(),
    }


def text(record: dict[str, Any]) -> str:
    """The record as a table."""
    scores, left_out = record["scores"], record["left_out"]
    unequal = f" ({left_out} of unequal lengths left out)" if left_out else ""
    head = (
        f"{record['task']}: {record['pairs']} held-out pairs{unequal}; {record['within']} without interventions: loss "
        f"{scores['loss']:.3f}, accuracy {scores['accuracy']:.0%}"
    )
    rows = [(_shown(row), row) for row in record["interventions"]] + [("all of these together", record["together"])]
    lines = [
        f"{row['moved']:7.0%}  {row['flipped']:7.0%}  {row['loss']:6.3f}  {row['accuracy']:8.0%}  {name}"
        for name, row in rows
    ]
    return "\n".join([head, "  moved  flipped    loss  accuracy  intervention", *lines])


def _shown(row: dict[str, Any]) -> str:
    amounts = row["kind"] in AMOUNTS
    names = (f"{name}={amount:g}" if amounts else name for name, amount in row["targets"].items())
    return f"{row['kind']} {', '.join(names)}"


def make_parser() -> CommandParser:
    """The options of the command."""
    parser = CommandParser("intervene", intervene_on_places.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="name or folder of a sparse_transformer")
    parser.add_argument("--task", help="one of `train.py list tasks`")
    for kind, what in HELPS.items():
        parser.add_argument(f"--{kind}", nargs="+", metavar="PLACE", help=f"places that get {what}")
    parser.add_argument("--circuit", type=Path, help="circuit of `train.py prune`, outside which all is ablated")
    parser.add_argument("--story", type=Path, help="YAML file of experiments with expected effects")
    parser.add_argument("--top", default=10, type=positive, help="number of nodes without places (default: 10)")
    parser.add_argument("--pairs", default=64, type=positive, help="pairs of prompts (default: 64)")
    parser.add_argument("--output", default=Path("out"), type=Path, help="folder of the JSON file (default: out)")
    parser.add_argument("--seed", default=0, type=int, help="of the pairs and of --resample (default: 0)")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda if available)")
    return parser
