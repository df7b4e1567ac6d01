"""Trains and evaluates every shipped checkpoint, and writes it with its model card: `python -m benchmarks.train_all`.

The checkpoints are listed in train_all.yaml. A run or a checkpoint whose config has not changed is kept, so an
interrupted command resumes; `--again` writes all checkpoints anew from their runs. A model takes two to twelve minutes
on one core, all of them two hours; its certificate is measured on validation rows. An entry with a `storage` is stored
with rounded weights, and its card tells what that changes on the test rows. At the end docs/models.md is written anew,
unless --output names another folder.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from math import sqrt
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.nn.functional import avg_pool2d

import zoo
from benchmarks import models_page
from benchmarks.certificates import UNCERTIFIED, certificate_on
from zoo.checkpoints.config_file import ABOUT, CONFIG, STORAGE, read_config
from zoo.checkpoints.save import attach_certificate, attach_effect, save
from zoo.checkpoints.shared_backbone import frozen_tensors, in_packages
from zoo.cli.settings import create_data
from zoo.core import registry
from zoo.core.module import SelfInterpretable
from zoo.core.storage import check_form
from zoo.data import PartBirds
from zoo.domain import ImageDomain
from zoo.metrics.faithfulness.rows import NumberedBatches
from zoo.metrics.stored_weights import storage_effect
from zoo.utils.small_tensors import FULL

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ROOT / "checkpoints"
PLAN = Path(__file__).with_suffix(".yaml")
USE = "To try the method, to compare it with others, and as a start for own models; not to decide about people."
SMALLER = 4  # times: golden images of 224 pixels are stored with 56
LIMIT = 64  # test rows for the faithfulness metrics
CERTIFIED = 200  # validation rows for the certificate


def main() -> int:
    """Returns 0 if every checkpoint was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="checkpoints of train_all.yaml (default: all)")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "checkpoints", help="folder of the runs")
    parser.add_argument("--output", type=Path, default=CHECKPOINTS, help="folder of the checkpoints")
    parser.add_argument("--again", action="store_true", help="write also checkpoints that are up to date")
    options = parser.parse_args()
    plan = yaml.safe_load(PLAN.read_text(encoding="utf-8"))
    names = options.only or list(plan["checkpoints"])
    if unknown := set(names) - set(plan["checkpoints"]):
        parser.error(f"--only: {PLAN} has no {', '.join(sorted(unknown))}; it has {', '.join(plan['checkpoints'])}.")
    failed = []
    for name in names:
        if not options.again and up_to_date(options.output / name, plan["checkpoints"][name]):
            print(f"{name} is up to date", flush=True)
            continue
        try:
            print(package(name, plan, options.runs, options.output), flush=True)
        except (subprocess.CalledProcessError, OSError, ValueError, RuntimeError) as error:
            failed.append(name)
            print(f"{name} failed: {error}\n{getattr(error, 'stderr', '')}", file=sys.stderr, flush=True)
    if options.output.resolve() == CHECKPOINTS:
        models_page.main()
    return 1 if failed else 0


def recipe_hash(config: str, options: list[str]) -> str:
    """SHA-256 of the content of a config and of the options given in addition."""
    content = yaml.safe_load((ROOT / "configs" / f"{config}.yaml").read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps([content, options], sort_keys=True).encode()).hexdigest()


def up_to_date(folder: Path, entry: dict[str, Any]) -> bool:
    """Whether a checkpoint exists, was trained by this entry of the plan, and is stored as it says."""
    if not (folder / CONFIG).is_file():
        return False
    try:
        config = read_config(folder)
    except (ValueError, FileNotFoundError):  # damaged
        return False
    form = (config.get(STORAGE) or {}).get("form", FULL)
    recipe = (config.get(ABOUT) or {}).get("recipe")
    return form == entry.get("storage", FULL) and recipe == recipe_hash(entry["config"], entry.get("with", []))


def package(name: str, plan: dict[str, Any], runs: Path, output: Path) -> Path:
    """Trains and evaluates a model, unless that is done already, and writes its checkpoint."""
    entry = plan["checkpoints"][name]
    facts = facts_of(name, plan)
    limits_of(entry["config"], plan)  # a gap or an error in the plan ends the command before the training
    check_form(storage := entry.get("storage", FULL))
    twin = entry.get("twin", facts.get("twin"))
    other, _ = trained(twin, [], runs) if twin else (None, None)
    run, mark = trained(entry["config"], entry.get("with", []), runs, teacher=other)
    model, metrics = zoo.load(run / "checkpoint"), json.loads((run / "metrics.json").read_text())
    for main in ("accuracy", "r2", "return", "psnr"):  # the card gives the first metric, and its interval
        if main in metrics:
            metrics = {main: metrics.pop(main), **metrics}
    file = ROOT / "configs" / f"{entry['config']}.yaml"
    data = create_data(file)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    test: Any = data.test_dataset()
    first = next(iter(metrics))
    reached = json.loads((other / "metrics.json").read_text()) if other else {}
    about = static_card(entry, facts, model, plan) | {
        "recipe": mark["config"],
        "device": mark["device"],
        "seed": 0,
        "rows": int(metrics.get("episodes", len(test))),
        "seconds": mark["seconds"],
        "interval": interval_of(metrics, len(test)),
        "twin": {"config": f"configs/{twin}.yaml", "value": reached[first]} if first in reached else None,
        "truth": faithfulness(run, file),
    }
    golden = golden_inputs(facts.get("golden", "test"), model, test)
    share = in_packages(model) or (bool(frozen_tensors(model)) and "cub50" in name)
    pictures = facts.get("pictures", True)
    folder = output / name
    save(
        model,
        folder,
        metrics=metrics,
        golden=golden,
        share_backbone=share,
        pictures=pictures,
        about=about,
        storage=storage,
    )
    stored = zoo.load(folder)
    if storage != FULL:
        attach_effect(folder, storage_effect(model, stored, NumberedBatches(test, None, data.batch_size), "test"))
    try:
        attach_certificate(folder, certificate_on(stored, data, CERTIFIED))
    except UNCERTIFIED as error:  # the checkpoint is good without one
        print(f"{name} gets no certificate: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return folder


def facts_of(name: str, plan: dict[str, Any]) -> dict[str, Any]:
    """What the plan says of the data of a checkpoint.

    Raises:
        ValueError: nothing.
    """
    data = plan["checkpoints"][name]["data"]
    if data not in plan["data"]:
        raise ValueError(f"{PLAN} names the data '{data}' of {name}, and does not describe it; add it under data:.")
    return plan["data"][data]


def limits_of(config: str, plan: dict[str, Any]) -> str:
    """What the plan says of the limits of a config's model, or of its family.

    Raises:
        ValueError: nothing.
    """
    content = yaml.safe_load((ROOT / "configs" / f"{config}.yaml").read_text(encoding="utf-8"))
    name = content["model"]["class_path"].rpartition(".")[2]
    entry = next(entry for entry in registry.entries() if entry.class_name == name)
    for key in (entry.name, entry.family):
        if key in plan["limits"]:
            return plan["limits"][key]
    raise ValueError(
        f"{PLAN} says nothing of the limits of {entry.name} or of its family; a model card needs it. Add a sentence "
        f"under limits:, as {entry.name} or {entry.family}."
    )


def static_card(
    entry: dict[str, Any], facts: dict[str, Any], model: SelfInterpretable, plan: dict[str, Any]
) -> dict[str, Any]:
    """The content of a model card that follows from the plan alone."""
    path = f"configs/{entry['config']}.yaml"
    family = registry.find(registry.name_of(type(model))).family
    twin = entry.get("twin", facts.get("twin"))
    first = [f"python train.py fit --config configs/{twin}.yaml"] if taught(entry["config"]) else []
    research = ", trained on data for research only" if "research" in facts["licence"] else ""
    return {
        "family": family,
        "title": (ROOT / path).read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip(),
        "data": facts["about"],
        "data_licence": facts["licence"],
        "licence": f"Apache-2.0{research}.",
        "config": path,
        "command": "\n".join([*first, " ".join(["python train.py fit --config", path, *entry.get("with", [])])]),
        "use": USE,
        "limits": limits_of(entry["config"], plan),
    }


def trained(name: str, more: list[str], runs: Path, teacher: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """The run of a config with these options, trained unless it is up to date; and the record of its training.

    A recipe with a teacher learns from the run `teacher`.
    """
    file, run = ROOT / "configs" / f"{name}.yaml", runs / Path(name).name
    digest = recipe_hash(name, more)
    noted = run / "trained.json"
    if noted.is_file() and (mark := json.loads(noted.read_text()))["config"] == digest:
        return run, mark
    print(f"training {name}", flush=True)
    noted.unlink(missing_ok=True)  # so that a training that is killed does not count
    shutil.rmtree(run / "faithfulness", ignore_errors=True)  # of the previous model
    start = time.perf_counter()
    command = [sys.executable, str(ROOT / "train.py"), "fit", "--config", str(file), "--output", str(run)]
    command += ["--overwrite", "true", "--trainer.enable_progress_bar", "false", *more]
    if teacher is not None and taught(name):
        command += ["--model.init_args.recipe.teacher.run", os.path.relpath(teacher, ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    mark = {"config": digest, "seconds": round(time.perf_counter() - start), "device": device()}
    noted.write_text(json.dumps(mark, indent=2) + "\n")
    return run, mark


def taught(name: str) -> bool:
    """Whether the recipe of a config has a teacher."""
    config = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8"))
    return "teacher" in (config["model"].get("init_args", {}).get("recipe") or {})


def device() -> str:
    """The device that a training in this process uses."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    count = int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads()))
    return f"{count} CPU core{'s' if count > 1 else ''}"


def faithfulness(run: Path, file: Path) -> dict[str, float | str]:
    """Completeness gap (95th percentile) and parameter randomisation of a run, by name."""
    path = run / "faithfulness" / "faithfulness.json"
    if not path.is_file():
        command = [sys.executable, str(ROOT / "train.py"), "evaluate", "--checkpoint", str(run / "checkpoint")]
        command += ["--config", str(file), "--metrics", "M1,M9", "--limit", str(LIMIT), "--output", str(path.parent)]
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    found: dict[str, float | str] = {}
    gates = (
        ("M1", "gap", "completeness gap, 95th percentile"),
        ("M9", "everything", "parameter randomisation, about 1 is ideal"),
    )
    for key, column, what in gates:
        result = json.loads(path.read_text())["metrics"][key]
        value = result["values"][column]["value"] if "values" in result else f"n/a: {result['not applicable']}"
        found[what] = "undefined" if value is None else value
    return found


def golden_inputs(how: str | list[str], model: SelfInterpretable, test: Any) -> Tensor:
    """Inputs that may be published: two of the test set, given texts, or a generated bird as pixels."""
    domain: Any = model.domain
    if isinstance(how, list):
        return torch.stack([domain.preprocess(text) for text in how])
    if how == "birds" and isinstance(domain, ImageDomain):
        birds = PartBirds(side=128, classes=2, count=2, val_count=2, test_count=2)
        birds.setup("test")
        own = ImageDomain.from_dict(birds.domain)
        drawn = domain.picture(domain.preprocess(own.picture(birds.test_dataset()[0]["input"])[None]))
        return avg_pool2d(drawn.float(), SMALLER).round().to(torch.uint8)
    inputs = torch.stack([test[i]["input"] for i in range(min(2, len(test)))])
    return domain.picture(inputs) if isinstance(domain, ImageDomain) else inputs


def interval_of(metrics: dict[str, float], rows: int) -> list[float] | None:
    """The 95 % interval of the first metric; None where it is not known."""
    first = next(iter(metrics))
    if first == "return":  # of episodes, measured by the test
        return [round(metrics["return_low"], 1), round(metrics["return_high"], 1)]
    return wilson(metrics[first], rows) if first == "accuracy" else None


def wilson(share: float, rows: int, z: float = 1.96) -> list[float]:
    """The 95 % interval of a share of rows (Wilson 1927)."""
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return [round(max(middle - half, 0), 4), round(min(middle + half, 1), 4)]


if __name__ == "__main__":
    sys.exit(main())
