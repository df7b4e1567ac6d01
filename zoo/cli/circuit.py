"""`train.py circuit`: writes the page of a circuit, and measures where in the corpus its nodes have which values."""

from collections.abc import Sequence
from pathlib import Path

import zoo
from zoo.checkpoints.pretrained import find
from zoo.circuits.analysis.contexts import Contexts, contexts_path, measure_contexts
from zoo.circuits.analysis.description import describe
from zoo.circuits.analysis.story import Outcome, Story
from zoo.circuits.analysis.token_pair_task import TokenPairTask
from zoo.circuits.network.circuit import Circuit
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.cli.arguments import CommandParser, positive
from zoo.cli.checkpoint_data import data_of, default_device, require_same_domain
from zoo.cli.circuit_files import circuits_of
from zoo.cli.stories import run_story
from zoo.data.synthetic.code_tasks import Task, encode, find_task, tasks
from zoo.domain import CodeDomain
from zoo.training.projection_set import ProjectionSet
from zoo.utils.atomic import write_text
from zoo.utils.printable import printable
from zoo.views.circuits.page import circuit_page


def write_circuit_pages(arguments: list[str]) -> int:
    """Writes the page of each circuit, on which it can be examined, changed and run.

    With --contexts, the training windows are read once, and the contexts of its nodes are stored beside the circuit.
    The experiments of a story, TASK.yaml beside the circuit, are made again and shown with their outcomes.
    """
    options = make_parser().parse(arguments)
    model = zoo.load(options.checkpoint)
    if not isinstance(model, SparseTransformer):
        raise ValueError(f"{options.checkpoint} is a {type(model).__name__}; circuit requires a sparse_transformer.")
    model.to(options.device or default_device())
    files = options.circuit or circuits_of(options.checkpoint)
    if not files:
        raise FileNotFoundError(
            f"{options.checkpoint} has no circuits; run `train.py prune --checkpoint {options.checkpoint} --task ...`."
        )
    windows = training_windows(model, options.checkpoint, options.config, "circuit") if options.contexts else None
    options.output.mkdir(parents=True, exist_ok=True)
    for file in files:
        circuit = Circuit.load(file)
        circuit.ablation(model.network)  # raises if it belongs to another network
        if windows is not None:
            measure_contexts(model, circuit, windows, options.each).save(contexts_path(file))
        stored = contexts_path(file)
        contexts = Contexts.load(stored) if stored.is_file() else None
        written = file.with_suffix(".yaml")
        story = run_story(model, Story.load(written), circuit) if written.is_file() else []
        path = write_page(model, circuit, contexts, held_out_of(circuit, model), options.output, story)
        print(f"{circuit.task}: {len(circuit.nodes)} nodes -> {printable(path)}")
    return 0


def write_page(
    model: SparseTransformer,
    circuit: Circuit,
    contexts: Contexts | None,
    held_out: TokenPairTask | None,
    folder: Path,
    story: Sequence[Outcome] = (),
) -> Path:
    """Writes the page of a circuit, with the outcomes of its story, under the name of its task; returns its path."""
    assert isinstance(model.domain, CodeDomain)
    path, told = folder / f"{circuit.task}.html", describe(model, circuit, held_out, contexts)
    write_text(path, circuit_page(told, model.domain, [outcome.to_dict() for outcome in story]))
    return path


def held_out_of(circuit: Circuit, model: SparseTransformer) -> TokenPairTask | None:
    """The prompts on which a circuit of a known task was measured, made anew; None for a task of one's own."""
    if circuit.task not in {task.name for task in tasks()}:
        return None
    assert isinstance(model.domain, CodeDomain)
    pairs, seed = circuit.report["prompts"]["held_out"] // 2, circuit.report.get("seed", 0)
    return token_pairs(find_task(circuit.task), model.domain, pairs, "held_out", seed)


def token_pairs(
    task: Task, domain: CodeDomain, pairs: int, split: str, seed: int, nonsense: bool = False
) -> TokenPairTask:
    """Pairs of prompts of a split, "train" or "held_out"; with random answers for the control."""
    found = encode(task, domain, pairs, split, seed, nonsense=nonsense)
    return TokenPairTask.of_pairs(found.prompts, found.answers)


def training_windows(
    model: SparseTransformer, checkpoint: Path, config: Path | None, command: str, advice: Sequence[str] = ()
) -> ProjectionSet:
    """The training windows of a checkpoint.

    Raises:
        FileNotFoundError: its data is unknown; the message ends with the `advice`.
        ValueError: the data have other tokens than the model.
    """
    try:
        data = data_of(checkpoint, config, [], command)
    except FileNotFoundError as error:
        raise FileNotFoundError(" ".join([str(error), *advice])) from error
    require_same_domain(model, data, f"{command} {checkpoint}")
    return ProjectionSet(data.projection_dataset(), device=model.device)


def make_parser() -> CommandParser:
    """The options of the command."""
    parser = CommandParser("circuit", write_circuit_pages.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="name or folder of a sparse_transformer")
    parser.add_argument(
        "--circuit", nargs="+", type=Path, help="circuits of `train.py prune` (default: those of the checkpoint)"
    )
    parser.add_argument(
        "--contexts", action="store_true", help="measure contexts in the training windows, and store them"
    )
    parser.add_argument("--each", default=4, type=positive, help="contexts of each kind for each node (default: 4)")
    parser.add_argument("--config", type=Path, help="config whose data --contexts reads (default: that of the run)")
    parser.add_argument("--output", default=Path("out"), type=Path, help="folder of the pages (default: out)")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda if available)")
    return parser
