"""The page benchmarks/SERIES.md."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.intervals import half_width

Runs = Sequence[Mapping[str, Any]]
NEAR = 1.0  # points from the best that count as reaching it
ABOUT = """Each model has one recipe for all data sets, the config that `MODELS` in `benchmarks/series.py` names.
Trained on the complete official training split for the epochs of the recipe, measured on the official test split. Mean
over training seeds, with the standard deviation where there are several. The recipes of `Shapelets` and `CodeCounts`
were chosen on held-out training series of these data sets, those of the other models were not tuned on them. The mining
of `Shapelets` draws the same windows for every seed.

The explanation of a motif is how near the series comes to it, so that one that is nowhere near counts too, against its
class; its support is then the window that is least unlike it.

*Random convolutions*: 5,000 random kernels, maxima and shares of positive values, and a ridge classifier (after
ROCKET), which explains nothing. *Black box*: the convolutional encoder of `AttentionPool` with average pooling."""
ACCURACY = """Accuracy on the test split, in %. *Within 1*: data sets on which the mean accuracy is at most one point
below the best of all models. The mean over data sets has its 95 % interval over training seeds (Student's t)."""
SIZE = """Mean over data sets. *Units*: of the model; *effective*: exp(entropy of the shares of |contributions|) of an
explanation, and *n90*: the units that hold 90 % of them, relative to the runner-up where the model says so. *Seconds*:
CPU seconds of one training, one thread."""
TRUTH = """Trained on {count:,} series whose class is determined by planted shapes (`zoo.data.PlantedSeries`), measured
on {rows} test series. *Average precision* and *mass*: of contributions, spread over the steps of the supports, for the
planted steps; 1 for the truth, 0 by chance; of series with planted shapes that are classified correctly. *Deletion*:
evidence deletion gain, which is 0 by chance. For the black box the explanation is integrated gradients."""
PLANTED_COLUMNS = (
    ("accuracy", "accuracy", 100),
    ("average precision", "average precision", 1),
    ("mass", "mass", 1),
    ("deletion", "gain", 1),
    ("effective units", "effective units", 1),
)


def page(record: Mapping[str, Mapping[str, Any]], planted: Iterable[str], count: int, rows: int) -> str:
    """The Markdown page of measurements by "set, model, seed N"."""
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for key, values in record.items():
        name, model, _ = key.split(", ")
        found.setdefault(name, {}).setdefault(model, []).append(values)
    planted = tuple(planted)
    real = {name: rows_ for name, rows_ in found.items() if name not in planted}
    models = list(dict.fromkeys(model for rows_ in found.values() for model in rows_))
    sections = (
        ("data sets", [key for key in record if key.split(", ")[0] not in planted]),
        ("planted evidence", [key for key in record if key.split(", ")[0] in planted]),
    )
    about = f"{' '.join(seeds_of(*section) for section in sections if section[1])}\n\n{ABOUT}"
    parts = ["# Models of series", about, "## Accuracy", ACCURACY, accuracy_table(real, models)]
    parts += ["## Size and cost", SIZE, size_table(real, models), "## Planted evidence"]
    parts.append(TRUTH.format(count=count, rows=rows))
    for name in planted:
        if name in found:
            parts += [f"### {name}", planted_table(found[name])]
    return "\n\n".join([*parts, "Created by `python -m benchmarks.series`."]) + "\n"


def accuracy_table(real: Mapping[str, Mapping[str, Runs]], models: Sequence[str]) -> str:
    """A row for each data set, then the means and the number of sets near the best."""
    lines = [f"| data set | train / test | {' | '.join(models)} |", f"|---|---:|{'---:|' * len(models)}"]
    means: dict[str, list[float]] = {model: [] for model in models}
    near = dict.fromkeys(models, 0)
    for name, rows in real.items():
        average = {model: 100 * statistics.mean(run["accuracy"] for run in runs) for model, runs in rows.items()}
        best, cells = max(average.values()), []
        for model in models:
            if model not in rows:
                cells.append("")
                continue
            means[model].append(average[model])
            near[model] += average[model] >= best - NEAR
            text = spread([run["accuracy"] for run in rows[model]], 100)
            cells.append(f"**{text}**" if average[model] >= best - 1e-9 else text)
        sizes = next((run for runs in rows.values() for run in runs if "train" in run), {})
        lines.append(f"| {name} | {sizes.get('train', '')} / {sizes.get('test', '')} | {' | '.join(cells)} |")
    complete = [
        f"{statistics.mean(v):.1f}{interval([rows[model] for rows in real.values()])}"
        if v and len(v) == len(real)
        else ""
        for model, v in means.items()
    ]
    lines.append(f"| mean | | {' | '.join(complete)} |")
    lines.append(f"| within 1 | | {' | '.join(f'{near[model]} of {len(means[model])}' for model in models)} |")
    return "\n".join(lines)


def interval(runs: Sequence[Runs]) -> str:
    """The half-width of the interval over seeds of the mean accuracy over data sets; empty with one seed."""
    if len({len(of_set) for of_set in runs}) > 1 or len(runs[0]) < 2:
        return ""
    means = [100 * statistics.mean(run["accuracy"] for run in seed) for seed in zip(*runs, strict=True)]
    return f" ± {half_width(means):.1f}"


def seeds_of(where: str, keys: Sequence[str]) -> str:
    """Which models were trained with which seeds."""
    found: dict[str, set[str]] = {}
    for key in keys:
        found.setdefault(key.split(", ")[1], set()).add(key.rpartition(" ")[2])
    most = max(found.values(), key=len)
    fewer = [f"{model} {', '.join(sorted(seeds))}" for model, seeds in found.items() if seeds != most]
    return f"Training seeds on {where}: {', '.join(sorted(most))}{'; but ' + '; '.join(fewer) if fewer else ''}."


def size_table(real: Mapping[str, Mapping[str, Runs]], models: Sequence[str]) -> str:
    """Means over data sets of what an explanation and a training take."""
    keys = {"units": "units", "effective": "effective units", "n90": "n90", "seconds": "seconds"}
    lines = [f"| model | {' | '.join(keys)} |", f"|---|{'---:|' * len(keys)}"]
    for model in models:
        runs = [run for rows in real.values() for run in rows.get(model, ())]
        values = [[run[key] for run in runs if key in run] for key in keys.values()]
        lines.append(f"| {model} | {' | '.join(f'{statistics.mean(v):.1f}' if v else '' for v in values)} |")
    return "\n".join(lines)


def planted_table(rows: Mapping[str, Runs]) -> str:
    """A row for each model."""
    lines = [
        f"| model | {' | '.join(heading for heading, _, _ in PLANTED_COLUMNS)} |",
        f"|---|{'---:|' * len(PLANTED_COLUMNS)}",
    ]
    for model, runs in rows.items():
        cells = [spread([run[key] for run in runs if key in run], factor) for _, key, factor in PLANTED_COLUMNS]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: Sequence[float], factor: int) -> str:
    """Mean and standard deviation; empty without values."""
    known = [factor * value for value in values]
    if not known:
        return ""
    digits = 1 if factor > 1 else 2
    deviation = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.{digits}f}{deviation}"
