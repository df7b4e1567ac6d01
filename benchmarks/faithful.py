"""What makes explanations of part birds faithful and small: `python -m benchmarks.faithful`.

For each seed, trains a black box and variants of models with `train.py fit`, and measures them with `train.py
evaluate` on `--limit` test rows: accuracy on all test rows, the rank correlation of contributions with what removals do
(M2), the deletion gain (M3), and the effective units (M6); on the same rows, the share of the explanation that lies on
the bird (`zoo.metrics.RelevanceInObject`, its visible pixels). Rows "in 8 regions" are the same runs, with
units that lie together joined. Finished runs are kept, and so are the results of other seeds and models. Writes
benchmarks/FAITHFUL.md and .json.
"""

import argparse
import json
import re
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch.nn.functional import adaptive_avg_pool2d

import zoo
from benchmarks.runs import HERE, ROOT, evaluated, read, trained
from zoo.cli.settings import create_data
from zoo.data import PartBirds
from zoo.metrics import RelevanceInObject
from zoo.metrics.faithfulness.rows import NumberedBatches
from zoo.utils.atomic import write_text

FILE = HERE / "FAITHFUL.json"
BLACK_BOX = "black box"
TUNE = '[{"name": "tune", "epochs": 3, "train": ["backbone", "head"], "cosine": true}]'
HOLES = '{"label": 0.5, "consistency": 1, "start": 0, "full": 0}'
SPARSE = (
    '[{"name": "parts", "epochs": 12, "train": ["addon", "head"], "cosine": true},'
    ' {"name": "sparsify", "per_class": 8, "non_negative": true}, {"name": "gallery"},'
    ' {"name": "measure", "epochs": 1, "train": []}]'
)
PROJECTED = (
    '[{"name": "train", "epochs": 20, "train": ["backbone", "projection"], "cosine": true}, {"name": "gather"},'
    ' {"name": "measure", "epochs": 1, "train": []}]'
)
BAG, PARTS = "bagnet_faithful_part_birds", "pipnet_faithful_part_birds"
TRAINED: dict[str, tuple[str, dict[str, str]]] = {  # config in configs/worlds, and changes below model.init_args
    "ProtoPNet, published": ("protopnet_part_birds", {}),
    "ProtoPNet from the black box, distilled": ("protopnet_faithful_part_birds", {}),
    "BagNet, published": ("bagnet_part_birds", {}),
    "black box as a bag of 64 patches": (BAG, {"trunk.strided": "true", "focus": "null"}),
    "black box as a bag of 256 patches": (BAG, {"focus": "null"}),
    "… with focus .17": (BAG, {}),
    "… and distilled for 3 epochs": (BAG, {"recipe.stages": TUNE, "recipe.lr": "0.001"}),
    "… and with removal": (BAG, {"recipe.stages": TUNE, "recipe.lr": "0.001", "recipe.removal": HOLES}),
    "black box B-cosified and trained on": ("bcos_faithful_part_birds", {}),
    "… and guided by masks": ("bcos_guided_part_birds", {}),
    "SIC from the black box, distilled": ("sic_part_birds", {}),
    "SIC guided by masks": ("sic_guided_part_birds", {}),
    "… with a projection": ("sic_part_birds", {"dim": "128", "temperature": "0.3", "recipe.stages": PROJECTED}),
    "PIP-Net with maxima": (PARTS, {"places.pooling": "max"}),
    "PIP-Net with sums": (PARTS, {}),
    "PIP-Net with sums, 8 weights a class": (PARTS, {"shrink": "0", "recipe.stages": SPARSE}),
}
REGIONS, JOINED = 8, ", in 8 regions"
IN_REGIONS = {  # also measured with their units joined
    "ProtoPNet from the black box, distilled",
    "… with focus .17",
    "black box B-cosified and trained on",
    "… and guided by masks",
    "PIP-Net with sums",
}
VARIANTS = {
    row: variant
    for name, variant in TRAINED.items()
    for row in ((name, name + JOINED) if name in IN_REGIONS else (name,))
}
IMPUTERS = ("mean", "blur", "noisy linear")
METRICS = {"M2": "rank correlation", "M3": "gain", "M6": "effective units"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of all trainings (default: 0 1 2)")
    parser.add_argument("--models", nargs="+", default=list(VARIANTS), metavar="NAME", help="rows (default: all)")
    parser.add_argument("--limit", type=int, default=100, help="test rows of the metrics (default: 100)")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time, a thread each (default: 1)")
    parser.add_argument("--runs", type=Path, default=Path("runs/faithful"), help="folder of the trained models")
    options = parser.parse_args()
    if unknown := [name for name in options.models if name not in VARIANTS]:
        parser.error(f"unknown models: {', '.join(unknown)}; choose from {', '.join(VARIANTS)}.")
    record = read(FILE) if FILE.is_file() else {}
    if record.get("rows") != options.limit:
        record = {"rows": options.limit, "models": {}}
    found: dict[str, dict[str, Any]] = {name: record["models"].get(name, {}) for name in (BLACK_BOX, *VARIANTS)}
    for seed in options.seeds:
        teacher = run_of(BLACK_BOX, "blackbox_part_birds", {}, "", seed, options)
        found[BLACK_BOX][str(seed)] = metrics_of(teacher)
        with ThreadPoolExecutor(options.jobs) as pool:
            jobs = {
                name: pool.submit(measured, name, *VARIANTS[name], str(teacher.resolve()), seed, options)
                for name in options.models
            }
        for name, job in jobs.items():
            found[name][str(seed)] = job.result()
    record["models"] = {name: dict(sorted(runs.items())) for name, runs in found.items() if runs}
    write_text(FILE, json.dumps(record, indent=1) + "\n")
    write_text(FILE.with_suffix(".md"), page(record))
    print(page(record))
    return 0


def run_of(
    name: str, config: str, changes: dict[str, str], teacher: str, seed: int, options: argparse.Namespace
) -> Path:
    """The folder of a run, which is trained if it is missing."""
    folder = options.runs / f"{re.sub('[^a-z0-9]+', '_', name.lower()).strip('_')}_seed{seed}"
    if "teacher:" in (ROOT / "configs" / "worlds" / f"{config}.yaml").read_text(encoding="utf-8"):
        changes = {**changes, "recipe.teacher.run": teacher}
    changes = {f"model.init_args.{option}": value for option, value in changes.items()}
    return trained(folder, f"worlds/{config}", seed, name, changes)


def measured(
    name: str, config: str, changes: dict[str, str], teacher: str, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Accuracies and metrics of a variant."""
    folder = run_of(name.removesuffix(JOINED), config, changes, teacher, seed, options)
    regions = REGIONS if name.endswith(JOINED) else 0
    found = evaluated(folder, list(METRICS), options.limit, name, regions)["metrics"]
    on_bird = relevance(folder, ROOT / "configs" / "worlds" / f"{config}.yaml", options.limit, regions)
    return metrics_of(folder) | {"faithfulness": {key: found[key]["values"] for key in METRICS}, "on the bird": on_bird}


def relevance(folder: Path, config: Path, limit: int, regions: int) -> dict[str, float]:
    """The share of |contribution| x support of the predicted class that lies on the bird, and the bird's share of the
    picture, on the rows of `train.py evaluate --limit`; kept in the folder of the run.

    Supports coarser than the picture are compared with the bird's share of each of their cells.
    """
    file = folder / (f"relevance_{limit}_in_{regions}_regions.json" if regions else f"relevance_{limit}.json")
    if not file.is_file():
        model, data, metric = zoo.load(folder / "checkpoint"), create_data(config), RelevanceInObject()
        assert isinstance(data, PartBirds)
        data.prepare_data()
        data.setup("test")
        for batch in NumberedBatches(data.test_dataset(), limit, data.batch_size):
            one = model.explain(batch["input"])
            one = one.in_regions(regions) if regions else one
            assert one.support is not None and one.contributions is not None
            height, width = one.support.shape[2:]
            bird = data.bird_pixels("test", batch["ids"]).double()
            metric.update(one.support, one.contributions, adaptive_avg_pool2d(bird, (height, width)))
        write_text(file, json.dumps({name: float(value) for name, value in metric.compute().items()}) + "\n")
    return read(file)


def metrics_of(folder: Path) -> dict[str, Any]:
    """The accuracy of a run on the test rows."""
    return {"accuracy": read(folder / "metrics.json")["accuracy"]}


def page(record: dict[str, Any]) -> str:
    """The Markdown page."""
    covered = [
        run["on the bird"]["chance relevance"]
        for by_seed in record["models"].values()
        for run in by_seed.values()
        if "on the bird" in run
    ]
    chance = f"birds cover {100 * statistics.mean(covered):.1f} %" if covered else "not measured"
    lines = [
        "# Faithful and small explanations of part birds",
        "",
        "Mean over training seeds, with the lowest and the highest; of a single seed, with 95 % intervals over rows. "
        f"Accuracy: all test rows; the other columns: {record['rows']} test rows. M2: mean of the rank correlations "
        "over imputers (in brackets: mean, blur, noisy linear), none of which is used in training. On the bird: share "
        "of the explanation, |contribution| × support, on visible pixels of the bird, in %; "
        + chance
        + ". Nothing was chosen on these rows.",
        "",
        "| model | seeds | accuracy, % | M2 | M3 | effective units | on the bird, % |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, by_seed in record["models"].items():
        runs = list(by_seed.values())
        cells = [over_seeds([100 * run["accuracy"] for run in runs], 1), "", "", "", ""]
        if metrics := [run["faithfulness"] for run in runs if "faithfulness" in run]:
            values = {key: [each[key][column] for each in metrics] for key, column in METRICS.items()}
            cells[1:4] = [with_interval(values[key], 1 if key == "M6" else 2) for key in METRICS]
            named = ([each["M2"][f"rank correlation, {fill}"]["value"] for each in metrics] for fill in IMPUTERS)
            cells[1] += f" ({', '.join(f'{statistics.mean(each):.2f}' for each in named)})"
        if shares := [100 * run["on the bird"]["relevance"] for run in runs if "on the bird" in run]:
            cells[4] = over_seeds(shares, 1)
        lines.append(f"| {name} | {', '.join(by_seed)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Created by `python -m benchmarks.faithful`.", ""])


def with_interval(found: list[dict[str, float]], digits: int) -> str:
    """Values of several seeds, or the value of one with its interval over rows."""
    if len(found) > 1:
        return over_seeds([each["value"] for each in found], digits)
    return f"{found[0]['value']:.{digits}f} [{found[0]['low']:.{digits}f} to {found[0]['high']:.{digits}f}]"


def over_seeds(values: list[float], digits: int) -> str:
    """The mean of values, with the lowest and the highest of several."""
    spread = f" [{min(values):.{digits}f} to {max(values):.{digits}f}]" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    sys.exit(main())
