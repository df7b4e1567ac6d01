"""Models of texts on a pretrained encoder, beside their black boxes: `python -m benchmarks.text`.

For each seed, trains each model on SST-2 and CEBaB with `train.py fit`, and measures it with `train.py evaluate` on
`--limit` test rows: accuracy on all test rows, the rank correlation of contributions with what removals of words do
(M2), the deletion gain (M3), the effective units (M6), and the gain of corrected concepts (M13). Finished runs and
measurements are kept: an interrupted command resumes. Writes benchmarks/TEXT.md and .json. Needs `pip install
".[offline]"` and the two data sets under ZOO_DATA.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.intervals import half_width
from benchmarks.runs import Record, evaluated, ordered, read, trained
from benchmarks.train_all import wilson

BLACK_BOX = "black box"
MODELS = {  # data set -> model -> config
    "SST-2": {
        BLACK_BOX: "parts/blackbox_sst2_minilm",
        "Sum-of-Parts": "parts/sop_sst2_minilm",
        "attention pooling": "selectors/attention_pool_sst2_minilm",
    },
    "CEBaB": {
        BLACK_BOX: "concepts/blackbox_cebab_minilm",
        "C3M": "concepts/c3m_cebab_minilm",
        "CBM": "concepts/cbm_cebab_minilm",
    },
}
EVERY = list(dict.fromkeys(model for models in MODELS.values() for model in models))
ROWS = {"SST-2": 1821, "CEBaB": 1689}  # test rows of the accuracy
METRICS = {"M2": "rank correlation", "M3": "gain", "M6": "effective units", "M13": "gain"}
ABOUT = """Six layers of MiniLM (22 million parameters), of which the last three are trained. Each model starts from
the black box of its data set and seed, and trains these layers on in the stages that its explanations need.
Accuracy is on all test rows{limit}. *M2*: rank correlation of contributions with what removals of words do, mean
over imputers. *M3*: evidence deletion gain. *M6*: effective units of an explanation. *M13*: how much accuracy
rises, in points, when concepts are set to their true rather than to random values. Validation rows chose the epoch,
test rows nothing. Brackets: 95 % intervals over rows; ±: 95 % intervals over training seeds (Student's t)."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of all trainings (default: 0 1 2)")
    parser.add_argument("--limit", type=int, default=100, help="test rows of the metrics (default: 100)")
    parser.add_argument("--sets", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    parser.add_argument("--models", nargs="+", choices=EVERY, default=EVERY, metavar="NAME")
    parser.add_argument(
        "--precision", default="bf16-mixed", help="of the trainings (default: bf16-mixed, fast with AMX or a GPU)"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/text"), help="folder of the trained models")
    options = parser.parse_args()
    record = Record("TEXT", page, lambda found: ordered(found, list(MODELS), EVERY))
    for seed in options.seeds:
        for name in options.sets:
            for model, config in MODELS[name].items():
                key, folder = f"{name}, {model}, seed {seed}", options.runs / f"{Path(config).name}_seed{seed}"
                if model not in options.models:
                    continue
                record.keep(key, accuracies_of, key, config, folder, seed, options)
                if model != BLACK_BOX and "faithfulness" not in record.found[key]:
                    record.found[key] |= explained(key, folder, options.limit)
                    record.write()
    record.write()
    return 0


def accuracies_of(key: str, config: str, folder: Path, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Accuracies of a model on the test rows; it is trained if it has no run."""
    changes = {"trainer.precision": options.precision}
    twin = MODELS[key.partition(",")[0]][BLACK_BOX]
    if config != twin:  # starts from the black box of its data set and seed
        changes["model.init_args.recipe.teacher.run"] = str((options.runs / f"{Path(twin).name}_seed{seed}").resolve())
    metrics = read(trained(folder, config, seed, key, changes) / "metrics.json")
    return {name: metrics[name] for name in ("accuracy", "concept_accuracy") if name in metrics}


def explained(key: str, folder: Path, limit: int) -> dict[str, Any]:
    """Metrics of the explanations of a model."""
    told = evaluated(folder, list(METRICS), limit, key)
    values = {name: result["values"][METRICS[name]] for name, result in told["metrics"].items() if "values" in result}
    return {"rows": told["rows"], "faithfulness": values}


def page(record: Mapping[str, Mapping[str, Any]]) -> str:
    """The Markdown page of measurements by "set, model, seed N"."""
    rows = sorted({run["rows"] for run in record.values() if "rows" in run})
    others = f", the other columns on {' or '.join(map(str, rows))} of them" if rows else ""
    parts = ["# Texts on a pretrained encoder", ABOUT.format(limit=others)]
    for name, models in MODELS.items():
        runs = {model: [run for key, run in record.items() if key.startswith(f"{name}, {model}, ")] for model in models}
        if any(runs.values()):
            parts += [f"## {name}", table(name, {model: found for model, found in runs.items() if found})]
    seen = {key.rpartition(", seed ")[0] for key in record}
    missing = [f"{name}, {model}" for name, models in MODELS.items() for model in models]
    if missing := [model for model in missing if model not in seen]:
        parts.append(f"Not measured: {'; '.join(missing)}.")
    return "\n\n".join([*parts, "Created by `python -m benchmarks.text`."]) + "\n"


def table(name: str, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A row for each model of a data set."""
    lines = ["| model | seeds | accuracy, % | to the black box | concepts, % | M2 | M3 | M6 | M13 |"]
    lines.append(f"|---|{'---:|' * 8}")
    reference = runs.get(BLACK_BOX, [])
    for model, found in runs.items():
        config = MODELS[name][model]
        accuracy = [run["accuracy"] for run in found]
        concepts = [100 * run["concept_accuracy"] for run in found if "concept_accuracy" in run]
        cells = [str(len(found)), accuracies(accuracy, ROWS[name]), "", ""]
        if model != BLACK_BOX and len(reference) == len(found):
            gap = statistics.mean(accuracy) - statistics.mean(run["accuracy"] for run in reference)
            cells[2] = f"{100 * gap:+.1f}"
        cells[3] = f"{statistics.mean(concepts):.1f}" if concepts else ""
        cells += [over_rows([run.get("faithfulness", {}).get(key) for run in found], key) for key in METRICS]
        lines.append(f"| [{model}](../configs/{config}.yaml) | {' | '.join(cells)} |")
    return "\n".join(lines)


def accuracies(shares: Sequence[float], rows: int) -> str:
    """The mean accuracy in %, with its interval over seeds, or over rows if there is one seed."""
    mean = f"{100 * statistics.mean(shares):.1f}"
    if len(shares) > 1:
        return f"{mean} ± {100 * half_width(shares):.1f}"
    low, high = wilson(shares[0], rows)
    return f"{mean} ({100 * low:.1f} to {100 * high:.1f})"


def over_rows(values: Sequence[Mapping[str, float] | None], key: str) -> str:
    """The mean of a metric over seeds, or the value of one with its interval over rows; empty if it does not apply."""
    found = [value for value in values if value is not None]
    if not found:
        return ""
    factor, digits = {"M6": (1, 1), "M13": (100, 1)}.get(key, (1, 2))
    mean = f"{factor * statistics.mean(value['value'] for value in found):.{digits}f}"
    if len(found) > 1:
        return mean
    return f"{mean} ({factor * found[0]['low']:.{digits}f} to {factor * found[0]['high']:.{digits}f})"


if __name__ == "__main__":
    sys.exit(main())
