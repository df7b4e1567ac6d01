"""`train.py convert`: a trained network in, a self-interpretable model of its features out."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import zoo
from zoo.cli.arguments import CommandParser, positive
from zoo.cli.begin import resume_path
from zoo.cli.config import override, pairs, read_config
from zoo.cli.finish import INPUTS
from zoo.cli.fit import fit
from zoo.cli.run_folder import first_process
from zoo.cli.run_metrics import METRICS
from zoo.cli.settings import Settings, parse
from zoo.cli.training_run import build_data, build_model, plain_errors
from zoo.conversion.budget import Attempts, Search, Trial, can_cache, search
from zoo.conversion.convert import CHECKPOINT, open_black_box
from zoo.conversion.report import Conversion
from zoo.conversion.source import KINDS, BlackBoxRun, register_code
from zoo.conversion.targets import EPOCHS, TARGETS, Request, Target, find_target, size_title
from zoo.conversion.write import write_report
from zoo.core import registry
from zoo.data.base.module import DataModule
from zoo.domain import Domain
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json
from zoo.utils.shards import Shard, launched
from zoo.utils.yaml_files import dump_yaml

CONFIG, SEARCH = "convert.yaml", "budget.json"  # what `fit` is given, and the sizes that were tried


def convert(arguments: list[str]) -> int:
    """Converts a trained network to a self-interpretable model of its features, and compares the two.

    The network, of classes or values, is taken apart at its last linear layer, and a model that reads the same features
    is trained by `fit`, whose options may follow, such as --model.init_args.code.atoms 64 or --trainer.accelerator cpu.
    OUTPUT gets the run of `fit` with the checkpoint, the network as a black box, and the report (convert.html,
    convert.json).
    """
    options, overrides = make_parser().parse_known_args(arguments)
    folder: Path = options.output
    given = dict(pairs(overrides, "convert"))
    command = ["--config", str(folder / CONFIG), "--output", str(folder), *overrides]
    shard = Shard.of_environment() if launched() else Shard()
    if not first_process():  # of a distributed fit; the first one writes the config
        shard.after_first(CONFIG)
        if options.model.startswith("module:"):
            register_code(options.model)
        return fit(command)
    section = data_section(options.data)
    settings = settings_of(section, overrides, options.data)
    resumed = resume_path(settings, folder) is not None
    with plain_errors():
        data = build_data(settings)
        domain = Domain.from_dict(data.domain)
        target = find_target(options.to, options.head, domain)
        black_box = open_black_box(options.model, data, domain, folder, weights=options.weights, layer=options.layer)
        folder.mkdir(parents=True, exist_ok=True)
        section = {"cache_features": can_cache(data, black_box.network.backbone)} | section
        if target.trains:
            section["cache_features"] = False
        found = find_size(options, target, black_box, data, section, overrides, resumed)
        size = found and found.chosen
        write_text(folder / CONFIG, dump_yaml(config_of(options, target, black_box, domain, section, size)))
    shard.after_first(CONFIG)
    start = time.perf_counter()
    code = fit(command)
    seconds = time.perf_counter() - start
    if code or not (folder / METRICS).is_file() or "--print_config" in given:
        return code
    model = zoo.load(folder / CHECKPOINT)
    metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    conversion = Conversion(model, black_box, data, metrics, seconds, found, size_title(target, options.head))
    write_report(conversion, folder, commands_of(folder, black_box, model.domain.modality))
    return 0


def make_parser() -> CommandParser:
    """The options of the command besides those of `fit`."""
    parser = CommandParser("convert", convert.__doc__)
    parser.add_argument("--model", required=True, metavar="SPEC", help=KINDS)
    parser.add_argument("--data", required=True, type=Path, metavar="CONFIG", help="config whose data to use")
    about = "; ".join(f"{name}, {target.about}" for name, target in TARGETS.items())
    parser.add_argument("--to", default="sparse_code", help=f"{about} (default: sparse_code)".replace("%", "%%"))
    parser.add_argument("--output", default=Path("runs/converted"), type=Path, help="folder (default: runs/converted)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="safetensors file with the weights of the network")
    parser.add_argument("--layer", metavar="NAME", help="with the features (default: the last that the head averages)")
    heads = "; ".join(f"of {name} {', '.join(target.heads)}" for name, target in TARGETS.items() if target.heads)
    parser.add_argument("--head", metavar="NAME", help=f"of the model: {heads}")
    parser.add_argument(
        "--budget", type=float, metavar="X", help="find the smallest explanation that loses at most X of accuracy or R²"
    )
    parser.add_argument("--scores", metavar="FILE", help="of labelfree: file of score-concepts, or annotations")
    parser.add_argument("--epochs", type=positive, default=EPOCHS, help=f"of training (default: {EPOCHS})")
    return parser


def data_section(path: Path) -> dict[str, Any]:
    """Data and `cache_features` of a config.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: it has no data.
    """
    config = read_config(path)
    if not config.get("data"):
        raise ValueError(f"{path} has no data; give a config that has, with --data FILE.")
    return {key: config[key] for key in ("data", "cache_features") if key in config}


def settings_of(config: dict[str, Any], overrides: list[str], files: object) -> Settings:
    """The settings of a config with overrides; those of the model only where the config has one.

    Raises:
        ValueError: see `zoo.cli.settings.parse`.
    """
    config = dict(config)
    for name, text in pairs(overrides, "convert"):
        if "model" in config or not name.startswith("--model."):
            override(config, name, text)
    return parse(config, str(files))


def find_size(
    options: argparse.Namespace,
    target: Target,
    black_box: BlackBoxRun,
    data: DataModule,
    section: dict[str, Any],
    overrides: list[str],
    resumed: bool,
) -> Search | None:
    """The size for the budget; None without one. A run that is resumed keeps its size.

    Raises:
        ValueError: the target has no size, or there are no validation data.
    """
    if options.budget is None:
        return None
    if not target.sizes:
        raise ValueError(f"{options.to} has no size to find for a budget; leave out --budget.")
    kept = options.output / SEARCH
    if resumed and kept.is_file():
        return read_search(kept)
    domain = Domain.from_dict(data.domain)

    def trial(size: int) -> Settings:
        config = config_of(options, target, black_box, domain, section, size, trial=True)
        return settings_of(config, overrides, CONFIG)

    first, last = (trial(target.sizes[place]).require("model").to_dict() for place in (0, -1))
    if first == last:
        raise ValueError(f"--budget finds the {size_title(target, options.head)}, which an option sets; leave one out.")

    trainer = settings_of(section, overrides, options.data).trainer.arguments
    given = {
        name: getattr(trainer, name) for name in ("accelerator", "precision") if getattr(trainer, name) is not None
    }
    attempt = lambda size: build_model(trial(size), data)  # noqa: E731
    found = search(target.sizes, options.budget, Attempts(attempt, data, black_box.network, **given))
    write_text(kept, to_json(found._replace(trials=[t._asdict() for t in found.trials])._asdict()) + "\n")
    return found


def read_search(path: Path) -> Search:
    """The search that an interrupted run made."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Search(**{**kept, "trials": [Trial(**trial) for trial in kept["trials"]]})


def config_of(
    options: argparse.Namespace,
    target: Target,
    black_box: BlackBoxRun,
    domain: Domain,
    section: dict[str, Any],
    size: int | None,
    trial: bool = False,
) -> dict[str, Any]:
    """The config that `fit` is given."""
    request = Request(domain, black_box, options.head, size, options.epochs, trial, options.scores)
    arguments = target.arguments(request)
    return {"model": {"class_path": registry.find(target.model).class_name, "init_args": arguments}, **section}


def commands_of(folder: Path, black_box: BlackBoxRun, modality: str) -> list[str]:
    """The commands to go on with."""
    start = "python train.py" + (f" --code {black_box.code}" if black_box.code else "")
    checkpoint = folder / CHECKPOINT
    return [
        f"{start} explain --checkpoint {checkpoint} --input {INPUTS[modality]} --output out/",
        f"{start} show --checkpoint {checkpoint} --output units.html",
        f"{start} evaluate --checkpoint {checkpoint} --metrics all --limit 100 --output out/",
    ]
