"""The user's own graphs, in a file of JSON lines or in three tables."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch

from zoo.data.base.graphs import GraphData, Graphs
from zoo.data.base.labelled_tables import HELD_OUT
from zoo.data.base.sampling import stratified_split
from zoo.data.base.splits import SPLITS, check_class_sizes, check_labels
from zoo.domain.graph_files import TABLES, read_graphs
from zoo.domain.graph_text import GraphText, parse_graph
from zoo.utils.checks import check_choice
from zoo.utils.errors import did_you_mean
from zoo.utils.paths import expand


class GraphFiles(GraphData):
    """Graphs in a file of JSON lines, or in a folder with graphs.csv, nodes.csv and edges.csv.

    A line is {"nodes": [{"charge": 0.1, "element": "C"}, ...], "edges": [[0, 1], ...], "label": "toxic"}, see
    `zoo.domain.graph_text`; the tables are described in `zoo.domain.graph_files.read_tables`. Without an entry `split`
    (train, val, test), and without test graphs, 20 % of the graphs of every label are the test set.

    Args:
        path: of the .jsonl file, or of the folder.
        label: name of the entry or column with the label, or with the value to predict.
        task: "classification" or "regression".
        **graphs: the options of `GraphData`.

    Raises:
        ValueError: unknown task.
    """

    def __init__(self, path: str, label: str = "label", task: str = "classification", **graphs: Any) -> None:
        super().__init__(**graphs)
        check_choice(("classification", "regression"), task=task)
        self.path, self.label, self.task = expand(path), label, task

    def read(self) -> dict[str, Graphs]:
        path = self.path / TABLES["graphs"] if self.path.is_dir() else self.path
        texts, found = read_graphs(path), dict[str, list[tuple[GraphText, str]]]()
        for number, text in enumerate(texts, 1):
            name = f"{path.name} graph {number}"
            try:
                graph = parse_graph(text)
                self._label(graph)
                split = str(graph.others.get("split") or "train").strip()
                check_choice(SPLITS, split=split)
            except ValueError as error:
                raise ValueError(f"{path}, graph {number}: {error}") from None
            found.setdefault(split, []).append((graph, name))
        if not found.get("train"):
            raise ValueError(f"{path} has no graphs to train on (splits: {', '.join(found) or 'none'}).")
        return self._splits(found, path)

    def _splits(self, found: dict[str, list[tuple[GraphText, str]]], path: Path) -> dict[str, Graphs]:
        labels = {split: [self._label(graph) for graph, _ in graphs] for split, graphs in found.items()}
        if self.task == "classification":
            check_class_sizes(Counter(labels["train"]), set(found), path, "graphs")
            check_labels(labels, path)
            self.classes = tuple(sorted(set(labels["train"])))
            number = {name: c for c, name in enumerate(self.classes)}
            targets = {split: torch.tensor([number[name] for name in names]) for split, names in labels.items()}
        else:
            self.classes = (self.label,)
            targets = {split: torch.tensor([[float(v)] for v in values]) for split, values in labels.items()}
        made = {
            split: Graphs([graph for graph, _ in graphs], targets[split], [name for _, name in graphs])
            for split, graphs in found.items()
        }
        if "test" not in made:
            kept, held = stratified_split(targets["train"], HELD_OUT, self.seed)
            made |= {"train": _part(made["train"], kept), "test": _part(made["train"], held)}
        return made

    def _label(self, graph: GraphText) -> str:
        if self.label not in graph.others:
            raise ValueError(f"there is no '{self.label}'; {did_you_mean(self.label, graph.others)}")
        label = str(graph.others[self.label]).strip()
        if not label:
            raise ValueError("the label is empty.")
        if self.task == "regression":
            try:
                float(label)
            except ValueError:
                raise ValueError(f"the label is '{label}'; expected a number.") from None
        return label


def _part(graphs: Graphs, rows: list[int]) -> Graphs:
    return Graphs([graphs.graphs[i] for i in rows], graphs.targets[rows], [graphs.names[i] for i in rows])
