"""Do certificates cover what they promise? Those of wrong explanations? `python -m benchmarks.certificates`.

For each checkpoint and for negative controls of it, on test rows: the removals of what the three strongest units see
and of a random part, as contributions say and as measured. In 20 random halves, the bound of one half is tried on the
other. Writes benchmarks/CERTIFICATES.md and .json. With `--attach`, every shipped checkpoint without
a certificate gets one of its validation rows.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo
from benchmarks import models_page
from zoo.checkpoints.config_file import ABOUT, CERTIFICATE, read_config
from zoo.checkpoints.pretrained import find
from zoo.checkpoints.save import attach_certificate
from zoo.checkpoints.shipped import list_checkpoints
from zoo.cli.settings import create_data
from zoo.core.certificate import Certificate
from zoo.core.module import SelfInterpretable
from zoo.data.base.module import DataModule
from zoo.metrics.certificates import UNITS, Claims, answer_sets, certificate_of, certify, claims
from zoo.metrics.faithfulness import CONTROLS, Subject, imputers_for
from zoo.metrics.faithfulness.rows import NumberedBatches, reference_inputs

HERE = Path(__file__).parent
LEVEL, SPLITS = 0.9, 20
SHOWN = ("monolith", "rotated basis", "shuffled supports", "shuffled contributions")
NAMES = (
    "bagnet-part-birds",
    "sop-part-birds",
    "sparse-code-part-birds",
    "protopnet-mnist",
    "bagnet-mnist",
    "sop-mnist",
    "senn-mnist",
    "nam-adult",
    "ga2m-adult",
    "sop-motions",
    "attention-pool-seqcomb",
    "attention-pool-tagged-music",
    "gnan-ba2motifs",
    "gsat-ba2motifs",
)
ABOUT_PAGE = """Shares in %; widths in units of the score. On test rows, 20 random halves: the bound of one half,
tried on the other. *Coverage*: removals (or true classes) inside the bound; 90 is promised. *Width*: half-width of
the bound for the removal of what the three strongest units see, and of a random part of the input; *constant*: the
width if the same change were predicted for every input, so a bound that is not smaller says that contributions tell
nothing about single removals. *Controls*: the smallest width among wrong explanations of the same model (monolith,
rotated basis, shuffled supports, shuffled contributions), relative to the width of the model; the monolith is left
out where its only unit is removed, which is the complete input. Above 1, the bound of the model is narrower. A
removal is measured with all imputers of the modality, and the bound holds for all of them at once."""


def main(arguments: list[str] | None = None) -> int:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(NAMES), metavar="NAME", help="checkpoints")
    parser.add_argument("--limit", type=int, default=400, help="test rows (default: 400)")
    parser.add_argument("--attach", action="store_true", help="attach certificates to shipped checkpoints instead")
    options = parser.parse_args(arguments)
    if options.attach:
        return attach(options.limit)
    path = HERE / "CERTIFICATES.json"
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name in options.only:
        record[name] = measured(name, options.limit)
        print(name, json.dumps(record[name]), flush=True)
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (HERE / "CERTIFICATES.md").write_text(page(record), encoding="utf-8")
    return 0


def data_of(folder: Path) -> DataModule:
    """The data that a shipped checkpoint was trained on, set up."""
    data = create_data(HERE.parent / read_config(folder)[ABOUT]["config"])
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    return data


def measured(name: str, limit: int) -> dict[str, Any]:
    """Coverage and widths of a checkpoint, and the widths of its controls."""
    folder = find(name)
    model, data = zoo.load(folder), data_of(folder)
    imputers = imputers_for(model.domain, reference_inputs(data.projection_dataset()), (), 0)
    batches = NumberedBatches(data.test_dataset(), limit, 32)
    found: dict[str, Any] = {}
    for what in ("model", *SHOWN):
        try:
            subject = CONTROLS[what](Subject(model)) if what != "model" else Subject(model)
            known = claims(subject, batches, imputers)
        except ValueError as error:  # a control that does not fit the model
            found[what] = {"missing": str(error)}
            continue
        found[what] = halves(known, [imputer.name for imputer in imputers])
    return {"rows": len(batches.rows), "imputers": [imputer.name for imputer in imputers], "found": found}


def halves(known: Claims, imputers: list[str]) -> dict[str, float]:
    """Means over random halves: the coverage and the widths of each bound."""
    draw, rows = torch.Generator().manual_seed(0), len(known.truth)
    each: dict[str, list[float]] = {}
    for _ in range(SPLITS):
        order = torch.randperm(rows, generator=draw)
        first, other = part(known, order[: rows // 2]), part(known, order[rows // 2 :])
        certificate = certificate_of(first, imputers, LEVEL, "test", UNITS)
        for i, (name, bound) in enumerate((("strongest", certificate.strongest), ("regions", certificate.regions))):
            if bound is not None:
                each.setdefault(f"{name} coverage", []).append(share(other.errors[:, i] <= bound.width))
                each.setdefault(f"{name} width", []).append(bound.width)
                each.setdefault(f"{name} constant", []).append(bound.constant)
        if certificate.answers is not None and certificate.answers.size is not None:
            threshold = 1 - certificate.answers.threshold
            each.setdefault("answers coverage", []).append(share(other.truth <= threshold))
            each.setdefault("answers size", []).append(
                float(answer_sets(other.probability, threshold).sum(1).double().mean())
            )
    return {name: sum(values) / len(values) for name, values in each.items()}


def part(known: Claims, rows: Tensor) -> Claims:
    """Some rows."""
    return Claims(known.predicted[rows], known.measured[rows], known.truth[rows], known.probability[rows])


def share(inside: Tensor) -> float:
    """The share of True."""
    return float(inside.double().mean())


def page(record: dict[str, Any]) -> str:
    """The page."""
    lines = ["# Certificates: coverage and width", "", ABOUT_PAGE, ""]
    header = ("checkpoint", "rows", *(f"{w}, {c}" for w in ("strongest", "random part") for c in COLUMNS), *ANSWERS)
    lines += [f"| {' | '.join(header)} |", "|---" + "|---:" * (len(header) - 1) + "|"]
    for name, one in record.items():
        cells = [name, f"{one['rows']:,}"]
        own = one["found"]["model"]
        for kind in ("strongest", "regions"):
            if f"{kind} width" not in own:
                cells += ["n/a"] * len(COLUMNS)
                continue
            shown = SHOWN[1:] if kind == "strongest" else SHOWN
            wrong = [one["found"][c].get(f"{kind} width") for c in shown]
            factor = min((w for w in wrong if w is not None), default=None)
            width = own[f"{kind} width"]
            cells += [f"{100 * own[f'{kind} coverage']:.1f}", f"{width:.3g}", f"{own[f'{kind} constant']:.3g}"]
            cells.append("n/a" if factor is None or not width else f"{factor / width:.2f} x")
        known = "answers size" in own
        cells += [f"{100 * own['answers coverage']:.1f}", f"{own['answers size']:.2f}"] if known else ["n/a", "n/a"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", finding(record), "", "Created by `python -m benchmarks.certificates`.", ""])


def finding(record: dict[str, Any]) -> str:
    """What the table says, in words."""
    told = []
    for kind, what in (("strongest", "strongest units"), ("regions", "random part")):
        own = {name: one["found"]["model"] for name, one in record.items() if f"{kind} width" in one["found"]["model"]}
        narrower = sum(one[f"{kind} width"] < one[f"{kind} constant"] for one in own.values())
        far = 0
        for name, one in own.items():
            wrong = [record[name]["found"][c].get(f"{kind} width", float("inf")) for c in SHOWN[kind == "strongest" :]]
            far += min(wrong) >= 3 * one[f"{kind} width"]
        told.append(
            f"For the {what}, contributions narrow the bound of {narrower} of {len(own)} models below that of a "
            f"constant, and wrong explanations have a bound at least 3 times as wide for {far}."
        )
    return " ".join(told)


UNCERTIFIED = (ValueError, OSError, RuntimeError, NotImplementedError, TypeError, ImportError)  # why there is none
COLUMNS = ("coverage", "width", "constant", "controls")
ANSWERS = ("classes, coverage", "classes, size")


def certificate_on(model: SelfInterpretable, data: DataModule, limit: int) -> Certificate:
    """The certificate of a model on validation rows of its data, which are set up."""
    reference = reference_inputs(data.projection_dataset())
    return certify(Subject(model), NumberedBatches(data.val_dataset(), limit, 32), reference, LEVEL)


def attach(limit: int) -> int:
    """Attaches the certificate of its validation rows to every shipped checkpoint."""
    failed = 0
    for name in list_checkpoints():
        folder = find(name)
        if CERTIFICATE in read_config(folder):  # a checkpoint that is trained anew has none
            continue
        try:
            known = certificate_on(zoo.load(folder), data_of(folder), limit)
            attach_certificate(folder, known)
            print(name, *(f"{what}: {text}" for what, text in known.lines()), sep="\n  ", flush=True)
        except UNCERTIFIED as error:
            failed += 1
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    models_page.main()  # it has the sizes of checkpoints
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
