"""`train.py prune`: finds the circuits of tasks in a weight-sparse transformer, and writes their pages."""

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import zoo
from zoo.checkpoints.config_file import content_hash, read_config
from zoo.checkpoints.pretrained import find
from zoo.checkpoints.shipped import ROOTS
from zoo.circuits.analysis.contexts import contexts_path, measure_contexts
from zoo.circuits.analysis.controls import controls
from zoo.circuits.analysis.mask_search import METHODS, Pruning
from zoo.circuits.analysis.pruning import prune
from zoo.circuits.network.circuit import Circuit
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.cli.arguments import CommandParser, positive
from zoo.cli.checkpoint_data import default_device
from zoo.cli.circuit import held_out_of, token_pairs, training_windows, write_page
from zoo.data.synthetic.code_tasks import Task, encode, find_task, tasks
from zoo.domain import CodeDomain
from zoo.training.projection_set import ProjectionSet
from zoo.utils.pieces import Pieces
from zoo.utils.printable import printable
from zoo.utils.shards import Shard


def prune_tasks(arguments: list[str]) -> int:
    """Finds the circuit of each task, and writes it as .safetensors, .json and a page (see `train.py circuit`).

    A task that the model does not solve has no circuit; the exit code is then 1. Processes that torchrun starts share
    the tasks. If interrupted, rerun the command to resume.
    """
    options = make_parser().parse(arguments)
    model = zoo.load(options.checkpoint)
    if not isinstance(model, SparseTransformer):
        raise ValueError(f"{options.checkpoint} is a {type(model).__name__}; prune requires a sparse_transformer.")
    model.to(options.device or default_device())
    chosen = tasks() if options.task == ["all"] else [find_task(name) for name in options.task]
    how = Pruning(
        target=options.target_loss,
        penalties=options.penalties,
        steps=options.steps,
        seed=options.seed,
        method=options.method,
    )
    place = Path(options.checkpoint.name) if options.checkpoint.parent in ROOTS else options.checkpoint
    folder = options.output or Path(f"{place}-circuits")
    folder.mkdir(parents=True, exist_ok=True)
    advice = ("Or skip all controls with --no-controls.",)
    windows = None
    if not options.no_controls:
        windows = training_windows(model, options.checkpoint, options.config, "prune", advice)
    shard = Shard.of_environment()
    pieces = Pieces(folder / "circuits", identity_of(options), len(chosen), shard)
    if pieces.ready and shard.first:
        print(f"{len(pieces.ready)} of {len(chosen)} tasks are done already.")

    def find_circuit(number: int) -> bool:
        task, start = chosen[number], time.perf_counter()
        try:
            circuit = search(model, task, how, options.pairs, windows, quiet=False, tested=not options.no_controls)
        except (RuntimeError, ValueError) as error:
            print(f"{task.name}: no circuit. {printable(error)}")
            return False
        path = write(model, circuit, windows, folder)
        report, took = circuit.report, time.perf_counter() - start
        print(f"{task.name}: {report['nodes']} nodes, {report['edges']} edges in {took:.0f} s -> {printable(path)}")
        print("\n".join(scores_lines(report)), flush=True)
        return True

    if (found := pieces.run(find_circuit)) is None:
        return 0  # the last process says whether all tasks have a circuit
    pieces.clear()
    return 0 if all(found) else 1


def identity_of(options: argparse.Namespace) -> dict[str, Any]:
    """What the circuits depend on; an interrupted command that is given again goes on if it is the same."""
    given = {name: value for name, value in vars(options).items() if name not in ("output", "device", "checkpoint")}
    given["config"] = str(options.config)
    return given | {"checkpoint": content_hash(read_config(options.checkpoint)), "version": zoo.__version__}


def scores_lines(report: Mapping[str, Any]) -> list[str]:
    """Held-out scores of a circuit, and those of each control with its verdict."""
    lines = [f"  circuit, held-out: {scores_text(report['circuit'])}"]
    lines.append(f"  without the circuit: {scores_text(report['without'])}")
    for name, control in report.get("controls", {}).items():
        sizes = f"{control['nodes']} nodes, {control['edges']} edges"
        lines.append(f"  {control['verdict']}  {name.replace('_', ' ')}: {scores_text(control)}; {sizes}")
        lines.append(f"        {control['reason']}")
    return lines


def scores_text(scores: Mapping[str, Any]) -> str:
    """Loss and accuracy, with the worst case."""
    return (
        f"loss {scores['loss']:.3f} (worst {scores['worst_loss']:.3f}), accuracy {scores['accuracy']:.0%} "
        f"(worst {scores['worst_accuracy']:.0%})"
    )


def search(
    model: SparseTransformer,
    task: Task,
    how: Pruning,
    pairs: int,
    windows: ProjectionSet | None,
    quiet: bool,
    tested: bool = True,
) -> Circuit:
    """The circuit of a task; if `tested`, its report includes the controls, that of shuffled weights with `windows`."""
    domain = model.domain
    assert isinstance(domain, CodeDomain)
    train, held_out = (token_pairs(task, domain, pairs, split, how.seed) for split in ("train", "held_out"))
    circuit = prune(model, task.name, train, held_out, how, quiet)
    report: dict[str, Any] = {**circuit.report, "description": task.description, "seed": how.seed}
    report["comparison"] = encode(task, domain, 1, "train", how.seed).comparison
    if tested:
        nonsense = (
            token_pairs(task, domain, pairs, "train", how.seed, nonsense=True),
            token_pairs(task, domain, pairs, "held_out", how.seed, nonsense=True),
        )
        report["controls"] = controls(model, circuit, train, held_out, nonsense, windows, how)
    return replace(circuit, report=report)


def write(model: SparseTransformer, circuit: Circuit, windows: ProjectionSet | None, folder: Path) -> Path:
    """Saves a circuit, with contexts if there are `windows`, and its page; returns the path of the page."""
    file = folder / circuit.task
    circuit.save(file)
    contexts_path(file).unlink(missing_ok=True)  # those of an earlier circuit
    contexts = None if windows is None else measure_contexts(model, circuit, windows)
    if contexts is not None:
        contexts.save(contexts_path(file))
    return write_page(model, circuit, contexts, held_out_of(circuit, model), folder)


def make_parser() -> CommandParser:
    """The options of the command."""
    parser = CommandParser("prune", prune_tasks.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="name or folder of a sparse_transformer")
    parser.add_argument("--task", required=True, nargs="+", help="tasks of `train.py list tasks`, or all")
    parser.add_argument(
        "--method",
        default="mask",
        choices=METHODS,
        help="how to rank nodes: a fitted mask, attributions (seconds), decomposition, or a mask from attributions",
    )
    parser.add_argument(
        "--target-loss", default=0.15, type=float, help="nats a prompt (default: 0.15; chance is 0.693)"
    )
    parser.add_argument(
        "--pairs",
        default=64,
        type=positive,
        help="pairs of prompts, to search and to test (default: 64)",
    )
    parser.add_argument("--steps", default=400, type=positive, help="optimizer steps for each penalty (default: 400)")
    parser.add_argument(
        "--penalties", default=[3e-4, 1e-3, 3e-3], type=float, nargs="+", help="penalties of a node to try"
    )
    parser.add_argument("--no-controls", action="store_true", help="skip the controls")
    parser.add_argument("--config", type=Path, help="config whose data the controls use (default: that of the run)")
    parser.add_argument("--output", type=Path, help="folder (default: CHECKPOINT-circuits)")
    parser.add_argument("--seed", default=0, type=int, help="of all random numbers (default: 0)")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda if available)")
    return parser
