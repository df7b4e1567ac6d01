"""`train.py evaluate`: runs metrics on a checkpoint."""

import argparse
from collections.abc import Callable
from pathlib import Path

import zoo
from zoo.checkpoints.pretrained import find
from zoo.cli.arguments import CommandParser, positive
from zoo.cli.checkpoint_data import SPLITS, add_force, data_of, default_device, require_same_domain
from zoo.cli.evaluate_episodes import report_episodes
from zoo.cli.evaluate_faithfulness import report_faithfulness
from zoo.cli.evaluate_interventions import report_interventions
from zoo.cli.evaluate_selection import report_selection
from zoo.cli.evaluate_sparsity import report_sparsity
from zoo.cli.run_record import require_same, split_differences
from zoo.core.module import SelfInterpretable
from zoo.data.base.fingerprint import fingerprint
from zoo.data.base.module import DataModule
from zoo.interventions.annotator import INVISIBLE, LEVELS
from zoo.interventions.policies import POLICIES
from zoo.metrics.faithfulness import CONTROLS
from zoo.metrics.faithfulness.suite import METRICS
from zoo.utils.shards import Shard

REPORTS: dict[str, Callable[[SelfInterpretable, DataModule, argparse.Namespace], None]] = {
    "interventions": report_interventions,
    "sparsity": report_sparsity,
    "selection": report_selection,
    "episodes": report_episodes,
    "metrics": report_faithfulness,
}


def evaluate(arguments: list[str]) -> int:
    """Runs metrics on a checkpoint and writes a report of each kind that is requested.

    The data is that of the run. --data.init_args.NAME VALUE overrides a value of it, such as its folder. Processes that
    torchrun starts share the rows of --metrics.
    """
    options, overrides = make_parser().parse_with_overrides(arguments)
    chosen = [name for name in REPORTS if getattr(options, name) is not None]
    if not chosen:
        raise ValueError(f"evaluate needs {' or '.join(f'--{name}' for name in REPORTS)}.")
    shard = Shard.of_environment()
    if shard.world > 1 and chosen != ["metrics"]:
        raise ValueError(
            f"--{chosen[0]} fits a model or follows all rows at once, so it runs in one process; start it without "
            "torchrun. Several processes can share --metrics."
        )
    model = zoo.load(options.checkpoint)
    data = data_of(options.checkpoint, options.config, overrides, "evaluate")
    shard.after_first("data", data.prepare_data)
    require_same_domain(model, data, f"evaluate {options.checkpoint}", options.force == "true")
    other = split_differences(options.checkpoint.parent, fingerprint(data, (options.split,)))
    if shard.first:
        require_same(other, f"evaluate {options.checkpoint}", force=True)
    model.to(options.device or default_device())
    options.output.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        REPORTS[name](model, data, options)
    return 0


def make_parser() -> CommandParser:
    """The options of the command."""
    parser = CommandParser("evaluate", evaluate.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="name or folder of a checkpoint")
    parser.add_argument("--config", type=Path, help="config whose data to use (default: that of the run)")
    add_force(parser)
    parser.add_argument("--split", default="test", choices=SPLITS, help="data to evaluate on (default: test)")
    parser.add_argument("--output", default=Path("out"), type=Path, help="folder for the reports (default: out)")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda if available)")
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers (default: 0)")
    parser.add_argument(
        "--sparsity",
        metavar="N,N",
        help="accuracy of concept models with N effective concepts a class, such as 5,10,20",
    )
    parser.add_argument(
        "--selection",
        type=positive,
        nargs="?",
        const=10,
        metavar="EPOCHS",
        help="whether a selector's choice, or the edges of a graph that count most, encode the answer; two networks "
        "that test it learn so long (default: 10)",
    )
    parser.add_argument(
        "--episodes",
        type=episodes,
        nargs="?",
        const=100,
        metavar="N",
        help="return of a policy over N episodes (default: 100), beside a written controller and random actions",
    )
    parser.add_argument("--twin", metavar="RUN", help="of --episodes: folder of a run of a black box of the same task")
    add_faithfulness(parser.add_argument_group("faithfulness of explanations"))
    add_interventions(parser.add_argument_group("interventions on concepts"))
    return parser


def episodes(text: str) -> int:
    """A number of episodes, of which an interval is possible.

    Raises:
        argparse.ArgumentTypeError: it is not from 2 to 10,000.
    """
    number = positive(text)
    if not 2 <= number <= 10_000:
        raise argparse.ArgumentTypeError(f"expected 2 to 10,000 episodes; got {text}.")
    return number


def add_faithfulness(group: argparse._ArgumentGroup) -> None:
    """Adds the options of the faithfulness metrics."""
    group.add_argument("--metrics", metavar="all|NAME,NAME", help=f"by key or title: {', '.join(METRICS)}")
    group.add_argument("--limit", type=positive, metavar="N", help="number of rows (default: all)")
    group.add_argument("--imputers", metavar="NAME,NAME", help="for removed parts (default: all of the modality)")
    group.add_argument(
        "--regions",
        type=positive,
        metavar="N",
        help="evaluate explanations whose units are joined into N regions",
    )
    group.add_argument("--control", choices=CONTROLS, help="evaluate a deliberately wrong explanation instead")
    group.add_argument(
        "--limit-memory", type=positive, default=512, metavar="MIB", help="of one forward pass (default: 512)"
    )


def add_interventions(group: argparse._ArgumentGroup) -> None:
    """Adds the options of the intervention protocol."""
    group.add_argument("--interventions", metavar="all|NAME,NAME", help=f"policies: {', '.join(POLICIES)}")
    group.add_argument(
        "--competence",
        nargs="+",
        type=float,
        default=[1.0, 0.0],
        help="probabilities of a correct label, one curve for each (default: 1 0)",
    )
    group.add_argument("--orders", type=int, default=5, help="random orders to average (default: 5)")
    group.add_argument(
        "--groups", type=lambda t: t.split(","), default=[], help="NAME,NAME concept groups (default: all)"
    )
    group.add_argument("--individually", action="store_true", help="intervene on single concepts instead of groups")
    group.add_argument(
        "--reduce", help="score of a group: mean or max over its concepts (default: as published for each policy)"
    )
    group.add_argument(
        "--rescore",
        default="published",
        choices=("published", "always", "never"),
        help="compute the scores of a policy again after every intervention (default: as published)",
    )
    group.add_argument("--level", default="instance", help=f"of the labels: {' or '.join(LEVELS)} (default: instance)")
    group.add_argument(
        "--invisible", default="label", help=f"concepts that are not visible: {', '.join(INVISIBLE)} (default: label)"
    )
    group.add_argument("--tune", action="store_true", help="tune alpha and beta of coop on validation data")
