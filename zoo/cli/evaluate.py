"""`train.py evaluate`: measures a checkpoint beyond its accuracy, on the data that it was trained on."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import zoo
from zoo.checkpoints.pretrained import find
from zoo.cli.evaluate_faithfulness import report_truth
from zoo.cli.evaluate_sparsity import report_sparsity
from zoo.cli.settings import create_data
from zoo.core.module import SelfInterpretable
from zoo.interventions.annotator import INVISIBLE, LEVELS
from zoo.interventions.cached_evidence import cache_evidence
from zoo.interventions.curve import SHARES, Curve
from zoo.interventions.policies import POLICIES, CooP, check_names, make_policies
from zoo.interventions.protocol import Protocol, group_members
from zoo.interventions.sweep import sweep, tune
from zoo.metrics.faithfulness import CONTROLS
from zoo.metrics.faithfulness.suite import METRICS
from zoo.views.curves import Line, curves_page, save_png, svg

SPLITS = ("test", "val")


def evaluate(arguments: list[str]) -> int:
    """Measures a checkpoint; each report is a JSON and what goes with it. Returns the exit code.

    --data.init_args.NAME VALUE changes the config's data, such as where it lies.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    reports: dict[str, Callable[[SelfInterpretable, Any, argparse.Namespace], None]] = {
        "interventions": report_interventions,
        "sparsity": report_sparsity,
        "metrics": report_truth,
    }
    wanted = [name for name in reports if getattr(options, name) is not None]
    if not wanted:
        raise ValueError(f"choose what to evaluate: {' or '.join(f'--{name} ...' for name in reports)}.")
    model = zoo.load(options.checkpoint)
    data = data_of(options.checkpoint, options.config, rest)
    require_same_domain(model, data)
    model.to(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    options.output.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        reports[name](model, data, options)
    return 0


def report_interventions(model: SelfInterpretable, data: Any, options: argparse.Namespace) -> None:
    """Writes interventions.json, .svg, .html and, with matplotlib, .png; prints the table."""
    start = time.perf_counter()
    protocol = Protocol(
        groups=options.groups,
        individually=options.individually,
        reduce=options.reduce,
        rescore={"published": None, "always": True, "never": False}[options.rescore],
        orders=options.orders,
        competences=options.competence,
        level=options.level,
        invisible=options.invisible,
        seed=options.seed,
    )
    groups = protocol.groups_of(model.domain)
    members = group_members(groups, len(model.domain.concepts), model.device)
    names = options.interventions.split(",")
    check_names(names)
    cached = cache_evidence(model, loader(data, options.split), f"evidence of the {options.split} data")
    policies = make_policies(names, model, cached)
    if names == ["all"] and options.individually:
        policies = [policy for policy in policies if not policy.whole_groups]
    if options.tune or any(policy.needs_fit for policy in policies):
        validation = (
            cached if options.split == "val" else cache_evidence(model, loader(data, "val"), "evidence to fit on")
        )
        policies = [policy.fit(model, validation, members) for policy in policies]
        if options.tune:
            tuned = tune(model, validation, protocol, "tuning coop")
            policies = [tuned if isinstance(policy, CooP) else policy for policy in policies]
    curves = sweep(model, cached, policies, protocol, "interventions")
    record = {
        "checkpoint": str(options.checkpoint),
        "model": zoo.core.registry.name_of(type(model)),
        "split": options.split,
        "rows": len(cached),
        "concepts": len(model.domain.concepts),
        "groups": list(groups),
        "protocol": vars(protocol) | {"groups": list(groups), "competences": list(protocol.competences)},
        "curves": [curve.to_dict() for curve in curves],
        "seconds": round(time.perf_counter() - start, 2),
    }
    _write(options.output / "interventions", record, curves)


def _write(stem: Path, record: Mapping[str, Any], curves: list[Curve]) -> None:
    stem.with_suffix(".json").write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    panels: dict[str, list[Line]] = {}
    for curve in curves:
        spread = None if curve.std is None else curve.std.tolist()
        panels.setdefault(_panel(curve.competence), []).append(Line(curve.policy, curve.mean.tolist(), spread))
    what = "concepts" if record["protocol"]["individually"] else "concept groups"
    axes = (f"{what} answered", "accuracy")
    drawing = svg(panels, *axes)
    stem.with_suffix(".svg").write_text(drawing, encoding="utf-8")
    about = f"{record['model']} · {record['rows']:,} {record['split']} rows · {len(record['groups'])} {what}"
    header = ("policy", "answers", *(f"{share:.0%}" for share in SHARES), "area")
    rows = [
        (c.policy, _panel(c.competence), *(f"{100 * c.at(share):.1f}" for share in SHARES), f"{c.area:.4f}")
        for c in curves
    ]
    page = curves_page("Interventions", drawing, f"{about} · accuracy in % after that share of them", header, rows)
    stem.with_suffix(".html").write_text(page, encoding="utf-8")
    drawn = save_png(panels, *axes, stem.with_suffix(".png"))
    print(f"{about}; accuracy in % after that share of them")
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        print("  " + "  ".join(cells).rstrip())
    print(f"figure {stem.with_suffix('.html')} · numbers {stem.with_suffix('.json')} · {record['seconds']} s")
    if not drawn:
        print("(for a PNG too: pip install 'self-interpretable-zoo[plot]')", file=sys.stderr)


def _panel(competence: float) -> str:
    return {1.0: "true", 0.0: "wrong"}.get(competence, f"{competence:.0%} true") + " answers"


def data_of(checkpoint: Path, given: Path | None, rest: list[str]) -> Any:
    """The data module that a checkpoint was trained on: of `given`, or of the config beside the checkpoint.

    Raises:
        FileNotFoundError: there is no config.
        ValueError: the config has no data, or an unknown key or class; or `rest` is not about data.
    """
    path = given or checkpoint.parent / "config.yaml"
    if given is None and not path.is_file():
        raise FileNotFoundError(
            f"no config at {path}, where `train.py fit` leaves it, so it is not known which data {checkpoint} was "
            "trained on; name a config with --config FILE."
        )
    return create_data(path, rest, "evaluate")


def require_same_domain(model: SelfInterpretable, data: Any) -> None:
    """Refuses data whose classes or concepts are not those of the model.

    Raises:
        ValueError: says which differ.
    """
    theirs = zoo.domain.Domain.from_dict(data.domain)
    for what in ("classes", "concepts"):
        ours, found = getattr(model.domain, what), getattr(theirs, what)
        if ours != found:
            differ = next((f"'{a}' and '{b}'" for a, b in zip(ours, found, strict=False) if a != b), "one is longer")
            raise ValueError(
                f"the {what} of the checkpoint ({len(ours)}) and of {type(data).__name__} ({len(found)}) differ "
                f"({differ}); name the config that the checkpoint was trained with, --config FILE."
            )


def loader(data: Any, split: str) -> Any:
    """Batches of a split, in order."""
    data.prepare_data()
    data.setup("test" if split == "test" else "validate")
    return data.test_dataloader() if split == "test" else data.val_dataloader()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("train.py evaluate", description=evaluate.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="folder written by fit, or by zoo.save()")
    parser.add_argument("--config", type=Path, help="whose data to use (default: the config beside the checkpoint)")
    parser.add_argument("--split", default="test", choices=SPLITS, help="data to measure on (default: test)")
    parser.add_argument("--output", default=Path("out"), type=Path, help="folder for the reports (default: out)")
    parser.add_argument("--device", help="such as cpu or cuda (default: cuda if there is one)")
    parser.add_argument(
        "--sparsity", metavar="N,N", help="accuracy at so many effective concepts a class, such as 5,10,20"
    )
    truth = parser.add_argument_group("truth of explanations")
    truth.add_argument("--metrics", metavar="all|NAME,NAME", help=f"by key or title: {', '.join(METRICS)}")
    truth.add_argument("--limit", type=_positive, metavar="N", help="rows to measure on (default: all)")
    truth.add_argument("--imputers", metavar="NAME,NAME", help="for removed parts (default: all that fit)")
    truth.add_argument("--control", choices=CONTROLS, help="measure a wrong explanation of the model instead")
    truth.add_argument(
        "--limit-memory", type=_positive, default=512, metavar="MIB", help="of one forward pass (default: 512)"
    )
    about = parser.add_argument_group("interventions")
    about.add_argument("--interventions", metavar="all|NAME,NAME", help=f"policies: {', '.join(POLICIES)}")
    about.add_argument("--competence", nargs="+", type=float, default=[1.0, 0.0], help="of annotators (default: 1 0)")
    about.add_argument("--orders", type=int, default=5, help="random orders to average (default: 5)")
    about.add_argument("--groups", type=lambda t: t.split(","), default=[], help="NAME,NAME to ask for (default: all)")
    about.add_argument("--individually", action="store_true", help="ask for single concepts instead of groups")
    about.add_argument("--reduce", default="mean", help="a group's score: mean or max of its concepts (default: mean)")
    about.add_argument(
        "--rescore", default="published", choices=("published", "always", "never"), help="score after every answer"
    )
    about.add_argument("--level", default="instance", help=f"of the labels: {' or '.join(LEVELS)} (default: instance)")
    about.add_argument("--invisible", default="label", help=f"concepts not seen: {', '.join(INVISIBLE)}")
    about.add_argument("--tune", action="store_true", help="tune coop's alpha and beta on validation data")
    about.add_argument("--seed", type=int, default=0, help="of orders and wrong answers (default: 0)")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1; got {text}")
    return int(text)
