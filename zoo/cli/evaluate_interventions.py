"""`train.py evaluate --interventions`: accuracy after interventions on concepts, by policy."""

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.cli.checkpoint_data import loader_of
from zoo.core import registry
from zoo.core.module import SelfInterpretable
from zoo.data.base.module import DataModule
from zoo.interventions.cached_evidence import cache_evidence
from zoo.interventions.curve import SHARES, Curve
from zoo.interventions.policies import CooP, Policy, check_names, make_policies
from zoo.interventions.protocol import Protocol, group_members
from zoo.interventions.sweep import sweep, tune
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json, without_nan
from zoo.views.curves import Line, curves_page, save_png, svg


def report_interventions(model: SelfInterpretable, data: DataModule, options: argparse.Namespace) -> None:
    """Writes interventions.json, .svg, .html and, with matplotlib, .png; prints the table.

    Raises:
        ValueError: an unknown policy or group, or a protocol that does not fit the model.
    """
    start = time.perf_counter()
    protocol = protocol_of(options)
    groups = protocol.groups_of(model.domain)
    names = options.interventions.split(",")
    check_names(names)
    cached = cache_evidence(model, loader_of(data, options.split), f"evidence of the {options.split} data")
    policies = make_policies(names, model, cached)
    if names == ["all"] and options.individually:
        policies = [policy for policy in policies if not policy.whole_groups]
    if options.tune or any(policy.needs_fit for policy in policies):
        validation = cached
        if options.split != "val":
            validation = cache_evidence(model, loader_of(data, "val"), "evidence of the validation data")
        policies = fit_policies(policies, model, validation, protocol, options.tune)
    curves = sweep(model, cached, policies, protocol, "interventions")
    record = {
        "checkpoint": str(options.checkpoint),
        "model": registry.name_of(type(model)),
        "split": options.split,
        "rows": len(cached),
        "concepts": len(model.domain.concepts),
        "groups": list(groups),
        "protocol": vars(protocol) | {"groups": list(groups), "competences": list(protocol.competences)},
        "curves": [curve.to_dict() for curve in curves],
        "seconds": round(time.perf_counter() - start, 2),
    }
    write_report(options.output / "interventions", record, curves)


def protocol_of(options: argparse.Namespace) -> Protocol:
    """The protocol that the options describe."""
    return Protocol(
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


def fit_policies(
    policies: list[Policy], model: SelfInterpretable, validation: Any, protocol: Protocol, tuned: bool
) -> list[Policy]:
    """Policies fitted on the cached evidence of validation data; CooP also tuned, if wanted."""
    members = group_members(protocol.groups_of(model.domain), len(model.domain.concepts), model.device)
    fitted = [policy.fit(model, validation, members) for policy in policies]
    if not tuned:
        return fitted
    best = tune(model, validation, protocol, "tuning coop")
    return [best if isinstance(policy, CooP) else policy for policy in fitted]


def write_report(stem: Path, record: Mapping[str, Any], curves: list[Curve]) -> None:
    """Writes numbers, figure and page next to each other, and prints the table."""
    write_text(stem.with_suffix(".json"), to_json(without_nan(record), indent=1) + "\n")
    panels: dict[str, list[Line]] = {}
    for curve in curves:
        spread = None if curve.std is None else curve.std.tolist()
        panels.setdefault(labels_of(curve.competence), []).append(Line(curve.policy, curve.mean.tolist(), spread))
    what = "concepts" if record["protocol"]["individually"] else "concept groups"
    axes = (f"{what} intervened on", "accuracy")
    drawing = svg(panels, *axes)
    write_text(stem.with_suffix(".svg"), drawing)
    about = f"{record['model']} · {record['rows']:,} {record['split']} rows · {len(record['groups'])} {what}"
    about += " · accuracy in % after interventions on that share of them"
    header = ("policy", "labels", *(f"{share:.0%}" for share in SHARES), "area")
    rows = [
        (c.policy, labels_of(c.competence), *(f"{100 * c.at(share):.1f}" for share in SHARES), f"{c.area:.4f}")
        for c in curves
    ]
    write_text(stem.with_suffix(".html"), curves_page("Interventions", drawing, about, header, rows))
    drawn = save_png(panels, *axes, stem.with_suffix(".png"))
    print(about)
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        print("  " + "  ".join(cells).rstrip())
    print(f"figure {stem.with_suffix('.html')} · numbers {stem.with_suffix('.json')} · {record['seconds']} s")
    if not drawn:
        print("(for a PNG as well: pip install 'self-interpretable-zoo[plot]')", file=sys.stderr)


def labels_of(competence: float) -> str:
    """What the labels of an annotator of this competence are called."""
    return {1.0: "correct", 0.0: "wrong"}.get(competence, f"{competence:.0%} correct") + " labels"
