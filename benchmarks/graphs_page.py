"""The page benchmarks/GRAPHS.md."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = (  # heading, key, and by how much it is multiplied
    ("accuracy", "accuracy", 100),
    ("edge AUC", "edge_auc", 1),
    ("by graph", "edge_auc_by_graph", 1),
    ("re-explained", "rank correlation", 1),
    ("flips", "flips", 100),
    ("random", "flips, random edges", 100),
    ("stays", "stays", 100),
    ("random", "stays, random edges", 100),
    ("follows", "follows", 100),
    ("random", "follows, random edges", 100),
    ("EVAL-X", "evalx", 100),
    ("complete", "evalx_complete", 100),
    ("mask only", "mask_only", 100),
    ("accuracy, biased", "accuracy, biased", 100),
    ("edge AUC, biased", "edge_auc, biased", 1),
)
ABOUT = """Shares in %; mean over training seeds, with the standard deviation where there are several. An explanation is
a score of each edge: the gate of models that have some, for SumGIN and GNAN the mean of the |contributions| of both
ends, for the black box integrated gradients over how much of each edge is used; for other models see `edge_scores` in
`zoo.metrics.faithfulness.graph_edges`. The *planted encoder* has the answers of the black box, and shows one fixed edge
for the first class, two for the second, and so on: a control that must lose. *GNNExplainer* is that of torch_geometric
with its default options, masks on edges alone, on 50 random test graphs of the same black box. Its masks begin half
open. These black boxes add up messages, so it starts from sums that no training graph has: a likely reason, not a
measured one, for what it finds.

*Edge AUC*: area under the ROC curve of the scores of edges by those that make the class, over the edges of all graphs
together, and *by graph*. The other tests are of the quarter of the edges that score highest, with their nodes, and, as
*random*, of as many random edges. *Re-explained*: rank correlation of the scores of these edges when the model sees
nothing else (ideal 1); *flips*: answers that change then (ideal 0). *Stays*: answers that stay when a part of another
graph is attached elsewhere (ideal 100); *follows*: answers that follow these edges into the remainder of a graph that
got another answer (ideal 100). *EVAL-X*: accuracy, on these edges, of a GIN that was trained on random subgraphs;
*complete*: its accuracy on complete graphs; where that is low, EVAL-X says little. *Mask only*: accuracy of a GIN that
sees the topology of these edges, without features; high with a low edge AUC says that the choice encodes the answer,
while on BA-2motifs and SPMotif the evidence is itself a shape. Definitions: `ReExplanation` and `Extension` in
`zoo.metrics.faithfulness`, `graph_selection_report` in `zoo.metrics`.

*Biased*: on a test like the training data, where bases (or decoys) go with the class; the other columns are for the
test in which they do not."""
CURVES = """Accuracy in % and pooled edge AUC on the validation graphs. The prior of the gates falls from 0.9 by 0.1
every 10 epochs; the epoch whose results are above is chosen by accuracy among the last 10."""
EVERY = 5  # epochs between two rows


def page(record: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The Markdown page of measurements by "world, model, seed N"."""
    worlds: dict[str, dict[str, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for key, runs in record.items():
        world, model, _ = key.split(", ")
        for name, found in runs.items():
            worlds[world][model if name == "its own" else f"{model}, {name}"].append(found)
    parts = ["# Graphs: are their explanations true?", ABOUT]
    for world, models in worlds.items():
        parts += [f"## {world}", table(models)]
    parts += ["## GSAT over training", CURVES, curves(record)]
    parts += ["Created by `python -m benchmarks.graphs` and `python -m benchmarks.graphs_gnnexplainer`."]
    return "\n\n".join(parts) + "\n"


def curves(record: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Accuracy and edge AUC of the runs of GSAT, every five epochs."""
    runs = {key: found["its own"]["curve"] for key, found in record.items() if "curve" in found.get("its own", {})}
    lines = [f"| epoch | {' | '.join(runs)} |", f"|---:|{'---:|' * len(runs)}"]
    for at in range(EVERY - 1, max((len(points) for points in runs.values()), default=0), EVERY):
        cells = [f"{100 * points[at][1]:.1f}, {points[at][2]:.2f}" for points in runs.values()]
        lines.append(f"| {at + 1} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table(models: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Rows of the models of a world, with the columns that it has."""
    known = {key for runs in models.values() for run in runs for key, value in run.items() if value is not None}
    columns = [column for column in COLUMNS if column[1] in known]
    lines = [
        f"| model | seeds | {' | '.join(heading for heading, _, _ in columns)} |",
        f"|---|---:|{'---:|' * len(columns)}",
    ]
    for model, runs in models.items():
        cells = [spread([run.get(key) for run in runs], factor) for _, key, factor in columns]
        lines.append(f"| {model} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: Sequence[float | None], factor: int) -> str:
    """Mean and standard deviation; empty without values."""
    known = [factor * value for value in values if value is not None]
    if not known:
        return ""
    digits = 1 if factor > 1 else 2
    deviation = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.{digits}f}{deviation}"
