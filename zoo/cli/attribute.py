"""`train.py attribute`: the paths between heads and MLPs of a GPT-2 that a task needs."""

from pathlib import Path

from zoo.circuits.analysis.gpt2 import load_gpt2
from zoo.circuits.analysis.path_attribution import CorruptedTask, needed_paths, score_paths, to_dict
from zoo.cli.arguments import CommandParser, positive
from zoo.cli.checkpoint_data import default_device
from zoo.data.synthetic.english_prompts import TASKS, english_prompts
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json
from zoo.utils.printable import printable

SHOWN = 10  # nodes and edges in the output


def attribute_paths(arguments: list[str]) -> int:
    """Scores all paths of a GPT-2 by integrated gradients, and keeps the fewest that an answer needs.

    The model is a folder of Hugging Face with config.json, model.safetensors and tokenizer.json; nothing is downloaded.
    Writes TASK-paths.json: all nodes with their effects, the kept paths, and the logit differences of the network, of
    the kept paths alone, and of the corrupted prompts. If the network does not solve the task, the file has no paths,
    and the exit code is 1.
    """
    options = make_parser().parse(arguments)
    graph, subwords = load_gpt2(options.model)
    given = english_prompts(options.task, subwords.encode, options.prompts, options.seed)
    if (length := given.tokens.shape[1]) > graph.model.config.n_positions:
        raise ValueError(f"the prompts have up to {length} tokens, the network {graph.model.config.n_positions}.")
    device = options.device or default_device()
    graph.model.to(device)
    prompts = CorruptedTask(*(t.to(device) for t in given))
    scores = score_paths(graph, prompts, options.steps)
    ranked = sorted(zip(graph.sources, scores.nodes.tolist(), strict=True), key=lambda pair: -abs(pair[1]))
    print(f"{options.task}: logit difference {scores.clean:.3f}, on corrupted prompts {scores.corrupted:.3f}")
    print("\n".join(f"{effect:9.3f}  {name}" for name, effect in ranked[:SHOWN]))
    try:
        paths = needed_paths(scores, prompts, options.share)
    except ValueError as error:
        print(f"no circuit: {printable(error)}")
        paths = None
    record = {"task": options.task, "prompts": options.prompts, "share": options.share, **to_dict(scores, paths)}
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"{options.task}-paths.json"
    write_text(path, to_json(record, indent=1))
    if paths is not None:
        print(f"{len(record['edges'])} of {record['all_edges']} paths keep a difference of {paths.metric:.3f}")
        print("\n".join(f"{e['effect']:9.3f}  {e['from']} -> {e['to']}" for e in record["edges"][:SHOWN]))
    print(f"-> {printable(path)}")
    return 0 if paths is not None else 1


def make_parser() -> CommandParser:
    """The options of the command."""
    parser = CommandParser("attribute", attribute_paths.__doc__)
    parser.add_argument("--model", required=True, type=Path, help="folder of a GPT-2 with its tokenizer")
    parser.add_argument("--task", required=True, choices=tuple(TASKS), help="generated prompts")
    parser.add_argument("--prompts", default=32, type=positive, help="number of prompts (default: 32)")
    parser.add_argument("--steps", default=5, type=positive, help="points of the integrated gradients (default: 5)")
    parser.add_argument("--share", default=0.85, type=float, help="of the logit difference to keep (default: 0.85)")
    parser.add_argument("--output", default=Path("out"), type=Path, help="folder of the JSON file (default: out)")
    parser.add_argument("--seed", default=0, type=int, help="of the prompts (default: 0)")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda if available)")
    return parser
