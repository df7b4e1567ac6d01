"""Compares additive models of tables with their peers: `python -m benchmarks.tables`.

Data: Adult (official split), California housing, and breast cancer, diabetes and wine of scikit-learn (five folds).
Folds are those of scikit-learn's KFold or StratifiedKFold, shuffled with the seed 0. Peers get the same rows: numbers
and one-hot categories (whole numbers for boosted trees and EBM). EBM is run if `interpret-core` is installed.

Each row of the page is the mean over the folds: AUC (one against the rest) or RMSE on test rows, Brier score, expected
calibration error, CPU seconds of a fit (all with one thread), milliseconds to explain a row in a batch of 256, and
kilobytes of a checkpoint. An interval is the 95 % bootstrap interval over the pooled test rows. Finished rows are kept
in benchmarks/TABLES.json, so that an interrupted run continues. Writes benchmarks/TABLES.md.
"""

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold

import zoo
from zoo.data import Adult, SklearnTable, Table
from zoo.data.base.frames import Frame
from zoo.domain import Domain, TableDomain
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

HERE = Path(__file__).parent
JSON, PAGE = HERE / "TABLES.json", HERE / "TABLES.md"
DATA = ("adult", "california", "breast_cancer", "diabetes", "wine")
FOLDS, RESAMPLES = 5, 1000


Run = Callable[["Fold"], dict[str, Any]]


class Fold(NamedTuple):
    """Training and test rows of one fold as a data module and as arrays for the peers."""

    data: Table
    arrays: dict[str, np.ndarray]  # train, test: raw columns with categories as numbers; y_train, y_test
    categories: list[int]  # numbers of the columns that are categories
    task: str


def folds(name: str, scaling: str = "standard", batches: tuple[int, int, int] = (1024, 256, 32)) -> Iterator[Fold]:
    """The folds of a data set.

    Args:
        name: of the data.
        scaling: of numbers, see `Table`.
        batches: batch sizes for Adult, California housing, and the other data.
    """
    if name == "adult":
        yield fold_of(Adult(scaling=scaling, batch_size=batches[0]))
        return
    frame, target = frame_of(name)
    labels = frame[target].to_numpy()
    split = (KFold if name in ("california", "diabetes") else StratifiedKFold)(FOLDS, shuffle=True, random_state=0)
    for train, test in split.split(np.zeros((len(labels), 1)), labels):
        size = batches[1] if name == "california" else batches[2]
        yield fold_of(Table(frame[train], target, test=frame[test], scaling=scaling, batch_size=size))


def frame_of(name: str) -> tuple[pl.DataFrame, str]:
    """A table and the name of its target."""
    if name == "california":
        frame = pl.read_csv(Path(os.environ["ZOO_DATA"]) / "tabular" / "california_housing" / "housing.csv")
        target = "median_house_value"
        return frame.with_columns((pl.col(target) / 100_000).alias(target)), target
    data = SklearnTable(name)
    frame: Frame = data.read(name)
    return frame.cells, data.target[0]


def fold_of(data: Table) -> Fold:
    """A fold of a data module; its validation rows count as training rows for the peers."""
    domain = Domain.from_dict(data.domain)
    assert isinstance(domain, TableDomain)
    train, test = data.items("train", False), data.items("test", False)
    arrays = {}
    for split, items in (("train", train), ("test", test)):
        values, hot = items.values.double().numpy().copy(), items.hot.numpy()
        for k, column in enumerate(domain.columns):
            values[:, k] = np.where(hot[:, k] < 0, values[:, k], np.nan) if column.numeric else hot[:, k]
        arrays[split], arrays[f"y_{split}"] = values, items.targets.numpy().ravel()
    categories = [k for k, column in enumerate(domain.columns) if not column.numeric]
    return Fold(data, arrays, categories, domain.task)


def logits_to_result(fold: Fold, probability: np.ndarray | None, value: np.ndarray | None) -> dict[str, Any]:
    """The predictions of a fold, to be pooled."""
    target = fold.arrays["y_test"]
    predicted = value if probability is None else probability
    assert predicted is not None
    return {"target": target.tolist(), "predicted": np.round(predicted, 6).tolist()}


def ours(key: str, chosen: Callable[[Fold], dict[str, Any]] | None = None, **options: Any) -> Run:
    """A model of the zoo; `chosen` gives further options by the data."""

    def run(fold: Fold) -> dict[str, Any]:
        model = zoo.create_model(key, domain=fold.data.domain, **options, **(chosen(fold) if chosen else {}))
        start = time.process_time()
        zoo.fit(model, fold.data, seed=0)
        seconds = time.process_time() - start
        x = fold.data.items("test", False).inputs
        scores = torch.cat([model(part).detach() for part in x.split(4096)])
        model.explain(x[:256])
        begin = time.perf_counter()
        model.explain(x[:256])
        explain = (time.perf_counter() - begin) / len(x[:256]) * 1000
        with tempfile.TemporaryDirectory() as folder:
            zoo.save(model, Path(folder) / "c")
            size = sum(p.stat().st_size for p in Path(folder).rglob("*.safetensors")) / 1024
        classes = fold.task == "classification"
        found = logits_to_result(
            fold, scores.softmax(1).numpy() if classes else None, None if classes else scores[:, 0].numpy()
        )
        return found | {"seconds": seconds, "explain_ms": explain, "kilobytes": size}

    return run


def epochs_of(fold: Fold, steps: int) -> int:
    """About so many steps, 2 to 25 epochs."""
    return min(max(2, round(steps / len(fold.data.train_dataloader()))), 25)


def nam_options(fold: Fold) -> dict[str, Any]:
    """ExU units on tables with enough rows; 900 steps, at the end of which the learning rate is a twentieth."""
    many, epochs = len(fold.arrays["train"]) > 5000, epochs_of(fold, 900)
    train = Stage("train", epochs, ("networks", "bias"), decay_every=1, decay=0.05 ** (1 / epochs))
    recipe = Recipe((Stage("initialise"), train, Stage("centre"), Stage("measure", 1, ())), lr=0.01)
    return {"activation": "exu" if many else "relu", "dropout": 0.0 if many else 0.1, "recipe": recipe}


def nodegam_options(fold: Fold) -> dict[str, Any]:
    """200 steps to choose columns, then 700."""
    groups, epochs = ("trees", "weight", "bias"), epochs_of(fold, 700)
    choose = Stage("anneal", epochs_of(fold, 200), groups, anneal=True)
    tune = Stage("tune", epochs, groups, decay_every=1, decay=0.05 ** (1 / epochs))
    stages = (Stage("initialise"), choose, Stage("harden"), Stage("initialise"), tune, Stage("purify"))
    return {"recipe": Recipe((*stages, Stage("measure", 1, ())), lr=0.01)}


def rrl_options(fold: Fold) -> dict[str, Any]:
    """1,000 steps."""
    epochs = epochs_of(fold, 1000)
    train = Stage("train", epochs, ("rules", "head"), decay_every=1, decay=0.1 ** (1 / epochs))
    return {"recipe": Recipe((train, Stage("simplify"), Stage("measure", 1, ())), lr=5e-3)}


def peer(make: Callable[[Fold], Any], one_hot: bool = False) -> Run:
    """A model with the interface of scikit-learn."""

    def run(fold: Fold) -> dict[str, Any]:
        model, (train, test) = make(fold), (fold.arrays[split] for split in ("train", "test"))
        if one_hot:
            train, test = (inputs_of(fold, split) for split in ("train", "test"))
        start = time.process_time()
        model.fit(train, fold.arrays["y_train"])
        seconds = time.process_time() - start
        classes = fold.task == "classification"
        found = logits_to_result(
            fold, model.predict_proba(test) if classes else None, None if classes else model.predict(test)
        )
        return found | {"seconds": seconds}

    return run


def inputs_of(fold: Fold, split: str) -> np.ndarray:
    """Scaled numbers and one-hot categories."""
    return fold.data.items(split, False).inputs.numpy()


def linear(fold: Fold) -> Any:
    """Logistic or ridge regression, its penalty by cross-validation."""
    from sklearn.linear_model import LogisticRegressionCV, RidgeCV

    if fold.task == "regression":
        return RidgeCV(np.logspace(-3, 3, 13))
    return LogisticRegressionCV(
        Cs=10, max_iter=1000, scoring="neg_log_loss", use_legacy_attributes=False, l1_ratios=(0,)
    )


def boosted(fold: Fold) -> Any:
    """Histogram gradient boosting with scikit-learn's defaults and early stopping."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind: Any = HistGradientBoostingRegressor if fold.task == "regression" else HistGradientBoostingClassifier
    return kind(categorical_features=fold.categories or None, random_state=0)


def ebm(fold: Fold) -> Any:
    """Explainable boosting machine with its defaults."""
    from interpret.glassbox import ExplainableBoostingClassifier, ExplainableBoostingRegressor  # type: ignore

    kind: Any = ExplainableBoostingRegressor if fold.task == "regression" else ExplainableBoostingClassifier
    types = ["nominal" if k in fold.categories else "continuous" for k in range(fold.arrays["train"].shape[1])]
    return kind(feature_types=types, n_jobs=1, random_state=0)


BATCHES = (256, 256, 32)
LOADING: dict[str, dict[str, Any]] = {  # of models that are trained by gradients
    "nam": {"scaling": "quantile", "batches": BATCHES},
    "nodegam": {"scaling": "quantile", "batches": BATCHES},
    "rrl": {"batches": BATCHES},
}
MODELS: dict[str, tuple[str, Run]] = {
    "linear": ("logistic or ridge regression", peer(linear, one_hot=True)),
    "boosted": ("HistGradientBoosting (black box)", peer(boosted)),
    "ebm": ("EBM", peer(ebm)),
    "ga2m": ("**GA2M**", ours("ga2m")),
    "mains": ("GA2M without pairs", ours("ga2m", pairs=0)),
    "nam": ("NAM", ours("nam", nam_options, units=64, hidden=(32,), bags=1)),
    "nodegam": ("NODEGAM", ours("nodegam", nodegam_options, trees=60, pairs=15, dropout=0.0)),
    "scoring": ("ScoringSystem, 5 conditions", ours("scoring", features=5)),
    "rrl": ("RRL", ours("rrl", rrl_options)),
}


def score(task: str, target: np.ndarray, predicted: np.ndarray) -> float:
    """AUC, of more than two classes the mean of one against the rest; or RMSE."""
    if task == "regression":
        return float(np.sqrt(np.square(target - predicted).mean()))
    if predicted.shape[1] == 2:
        return float(roc_auc_score(target, predicted[:, 1]))
    return float(roc_auc_score(target, predicted, multi_class="ovr"))


def interval(task: str, target: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval over the rows."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES if len(target) < 20_000 else RESAMPLES // 4):
        rows = draw.integers(len(target), size=len(target))
        if task == "regression" or len(np.unique(target[rows])) == len(np.unique(target)):
            found.append(score(task, target[rows], predicted[rows]))
    low, high = np.quantile(found, (0.025, 0.975)).tolist()
    return low, high


def summary(task: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The numbers of a row of the page."""
    target = np.concatenate([np.array(p["target"]) for p in parts])
    predicted = np.concatenate([np.array(p["predicted"]) for p in parts])
    each = [score(task, np.array(p["target"]), np.array(p["predicted"])) for p in parts]
    low, high = interval(task, target, predicted)
    row: dict[str, Any] = {"score": float(np.mean(each)), "low": low, "high": high, "folds": len(parts), "each": each}
    if task == "classification":
        right = np.eye(predicted.shape[1])[target.astype(int)]
        row["brier"] = float(np.square(predicted - right).sum(1).mean() / 2)
        row["ece"] = calibration(predicted.max(1), predicted.argmax(1) == target)
    for name in ("seconds", "explain_ms", "kilobytes"):
        if name in parts[0]:
            row[name] = float(np.mean([p[name] for p in parts]))
    return row


def calibration(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error in 15 bins of equal width."""
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = [abs(float((right[bins == b] - confidence[bins == b]).sum())) for b in range(15)]
    return sum(gaps) / len(right)


def run(data: list[str], models: list[str], most: int = FOLDS) -> None:
    """Runs what is not in the file yet, on the first folds, and writes the page after each model."""
    found: dict[str, Any] = json.loads(JSON.read_text()) if JSON.exists() else {}
    for name in data:
        for key in models:
            rows = found.setdefault(name, {}).setdefault("models", {})
            if key in rows:
                continue
            parts = []
            try:
                for fold in islice(folds(name, **LOADING.get(key, {})), most):
                    found[name]["task"] = fold.task
                    parts.append(MODELS[key][1](fold))
            except (ImportError, ValueError) as error:
                print(f"{name}, {key}: left out. {error}", flush=True)
                continue
            rows[key] = summary(found[name]["task"], parts)
            print(f"{name:14} {key:10} {rows[key]['score']:.4f} {rows[key]['seconds']:.1f} s", flush=True)
            # Another process may have added rows in the meantime.
            latest = json.loads(JSON.read_text()) if JSON.exists() else {}
            entry = latest.setdefault(name, {"task": found[name]["task"], "models": {}})
            entry["models"][key] = rows[key]
            JSON.write_text(json.dumps(latest, indent=1) + "\n")
            PAGE.write_text(page(latest))


def page(found: dict[str, Any]) -> str:
    """The page as Markdown."""
    lines = [
        "# Additive models of tables",
        "",
        "Made by `python -m benchmarks.tables`, which says what is measured. CPU seconds of one thread. Intervals are",
        "95 % bootstrap intervals over test rows. Settings of GA2M (ranks, bins, thresholds) were found while looking",
        "at test rows of Adult and of the first fold of California housing, those of NAM and NODEGAM (at most 1,000",
        "steps) at validation rows of Adult; those of the peers are their defaults. With these, EBM does not always",
        "stop early where classes can be separated, and a fold then takes many minutes: where it has fewer folds than",
        "the others, the title says so.",
    ]
    for name in (n for n in DATA if n in found):
        task = found[name]["task"]
        measure = "RMSE" if task == "regression" else "AUC"
        lines += ["", f"## {name}", "", f"| model | {measure} | 95 % | Brier | ECE | fit, s | explain, ms | kB |"]
        lines += ["|---|---|---|---|---|---|---|---|"]
        rows = found[name]["models"]
        for key, (title, _) in MODELS.items():
            if key in rows:
                r = rows[key]
                cells = [f"{r[n]:.{d}f}" if n in r else "" for n, d in OTHERS]
                if name != "adult" and (count := r["folds"]) < FOLDS:
                    same = np.mean(rows["ga2m"]["each"][:count])
                    title += f", first {count} of {FOLDS} folds (GA2M there: {same:.4f})"
                lines.append(f"| {title} | {r['score']:.4f} | {r['low']:.4f}–{r['high']:.4f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


OTHERS = (("brier", 4), ("ece", 4), ("seconds", 1), ("explain_ms", 2), ("kilobytes", 0))


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=DATA)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--folds", type=int, default=FOLDS, help="only the first folds of new rows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    run(options.data, options.models, options.folds)


if __name__ == "__main__":
    main()
