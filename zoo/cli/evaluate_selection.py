"""`train.py evaluate --selection EPOCHS`: does a choice tell the answer, or encode it?"""

import argparse
from dataclasses import asdict

from torch.utils.data import DataLoader

from zoo.cli.checkpoint_data import loader_of
from zoo.core.module import SelfInterpretable
from zoo.data.base.module import DataModule
from zoo.domain import GraphDomain
from zoo.metrics.faithfulness import CONTROLS, Subject
from zoo.metrics.selection.graphs import graph_selection_report
from zoo.metrics.selection.report import selection_report
from zoo.utils.atomic import write_text
from zoo.utils.collate import collate
from zoo.utils.json_text import to_json

WORDS = {
    "accuracy": "accuracy of the selector",
    "selected": "elements that are selected",
    "evalx": "accuracy of a network trained on random masks, on what is selected (EVAL-X)",
    "evalx_random": "... on random elements of the same number",
    "evalx_complete": "... on complete inputs",
    "mask_only": "accuracy of a network that sees the choice alone, not the values",
    "commonest": "share of the commonest class",
    "again": "overlap of the choice with that for the input with the rest hidden",
    "swapped": "answers that stay when the rest is that of another input",
    "true_positive_rate": "of the known evidence, how much is selected",
    "false_positive_rate": "of the other elements, how many are selected",
    "false_discovery_rate": "of what is selected, how much is no evidence",
    "auprc": "average precision of the chances of selection as a ranking by evidence (AUPRC)",
    "edge_auc": "area under the ROC curve of the scores of edges by evidence, over all edges",
    "edge_auc_by_graph": "... as a mean over graphs",
}


def report_selection(model: SelfInterpretable, data: DataModule, options: argparse.Namespace) -> None:
    """Writes selection.json and prints the table.

    Raises:
        ValueError: the model selects nothing.
    """
    train = DataLoader(data.projection_dataset(), data.batch_size, shuffle=True, collate_fn=collate)
    test = loader_of(data, options.split)
    if isinstance(model.domain, GraphDomain):
        subject: Subject = Subject(model, options.limit_memory * 2**20)
        subject = CONTROLS[options.control](subject) if options.control else subject
        report = graph_selection_report(subject, train, test, options.selection, options.seed, progress=True)
    else:
        report = selection_report(model, train, test, options.selection, options.seed, progress=True)
    record = {"checkpoint": str(options.checkpoint), "split": options.split, **asdict(report)}
    write_text(options.output / "selection.json", to_json(record, indent=1) + "\n")
    for name, words in WORDS.items():
        if (value := getattr(report, name)) is not None:
            print(f"{100 * value:6.1f} %  {words}")
    print(f"numbers {options.output / 'selection.json'}")
