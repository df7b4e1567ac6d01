"""The page benchmarks/SELECTORS.md."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = {  # of selectors: heading, key
    "accuracy": "accuracy",
    "selected": "selected",
    "TPR": "true_positive_rate",
    "FPR": "false_positive_rate",
    "FDR": "false_discovery_rate",
    "AP": "average precision",
    "EVAL-X": "evalx",
    "complete": "evalx_complete",
    "mask only": "mask_only",
    "commonest": "commonest",
    "again": "again",
    "swapped": "swapped",
}
ABOUT = """In %, mean over training seeds (standard deviation, where there are several). *TPR*, *FPR*: of the
elements that determine the label of a row, and of the others, how many are selected; *FDR*: of the
selected elements, how many do not determine the label. *AP*: average precision of the chances of
selection (of the black box: of the absolute attributions of a post-hoc method) for the elements that
determine the label, mean over test rows. *EVAL-X*: accuracy of a network that was trained on random
masks, on what is selected, and *complete*, its accuracy on complete inputs: if EVAL-X is far below both,
the selection itself tells the answer. *Mask only*: accuracy of a network that sees which elements are
selected, not their values; *commonest* is the share of the commonest class. *Again*: overlap of the
selection with that of the input with the rest hidden. *Swapped*: answers that stay when the rest is that
of another input; here the selection is made anew."""


def page(record: Mapping[str, Mapping[str, Any]]) -> str:
    """The Markdown page of measurements by "world, model, seed N"."""
    worlds: dict[str, dict[str, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for key, found in record.items():
        world, model, _ = key.split(", ")
        worlds[world][model].append(found)
    parts = ["# Selectors: do they find the evidence, and do they encode the answer?", ABOUT]
    for world, models in worlds.items():
        parts += [f"## {world}", table(models)]
    return "\n\n".join([*parts, "Created by `python -m benchmarks.selectors`."]) + "\n"


def table(models: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Rows of the models of a world."""
    lines = [f"| model | seeds | {' | '.join(COLUMNS)} |", f"|---|---:|{'---:|' * len(COLUMNS)}"]
    for model, runs in models.items():
        if "mask_only" in runs[0]:
            cells = [spread([run[key] for run in runs]) for key in COLUMNS.values()]
            lines.append(f"| {model} | {len(runs)} | {' | '.join(cells)} |")
            continue
        accuracy = spread([run["accuracy"] for run in runs])
        for method in (name for name in runs[0] if name != "accuracy"):
            cells = [accuracy, "", "", "", "", spread([run[method] for run in runs])] + [""] * (len(COLUMNS) - 6)
            lines.append(f"| {model}, {method} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: Sequence[float | None]) -> str:
    """Mean and standard deviation in %; empty without values."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return ""
    return f"{statistics.mean(known):.1f}" + (f" ± {statistics.stdev(known):.1f}" if len(known) > 1 else "")
