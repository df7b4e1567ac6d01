"""Tests of a selector: a selection that encodes the answer is told by networks that the selector never taught.

EVAL-X: Jethani, Sudarshan, Aphinyanaphongs, Ranganath: "Have We Learned to Explain?", AISTATS 2021, arXiv 2103.01890.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from zoo.core.evidence import Evidence
from zoo.domain import Domain
from zoo.metrics.faithfulness.recovery import average_precision
from zoo.metrics.selection.training import train_network
from zoo.networks.elements import Elements
from zoo.training.batch import as_batch
from zoo.training.black_box import BlackBox
from zoo.training.modes import evaluating


class Selecting(Protocol):
    """A selector: the activations of its evidence are masks (B, L) in {0, 1} over its elements."""

    domain: Domain
    elements: Elements
    arguments: dict[str, Any]
    device: torch.device

    def __call__(self, x: Tensor) -> Tensor:
        """Scores (B, C)."""
        ...

    def evidence(self, x: Tensor) -> Evidence:
        """What was selected, as the activations."""
        ...


@dataclass
class SelectionReport:
    """What the tests found, as shares in [0, 1]; of the test data where nothing else is said.

    Attributes:
        accuracy: of the selector.
        selected: elements that are selected.
        evalx: accuracy of a network that was trained on random masks, on what the selector shows (EVAL-X). Far below
            `accuracy`: the selection tells the predictor more than the selected values do.
        evalx_random: its accuracy on random masks with as many elements.
        evalx_complete: its accuracy on complete inputs.
        mask_only: accuracy of a network that sees the masks alone, not the values. Above `commonest`: the choice
            depends on the answer, as it may where classes have other evidence.
        commonest: share of the commonest class in the training data, which needs no input.
        again: overlap (intersection over union) of the selection with that of the input with the rest hidden; None for
            graphs, see M16.
        swapped: answers that stay when the rest is that of another input; None for graphs, see M17.
        true_positive_rate: of the known evidence, how much is selected; None if it is not known.
        false_positive_rate: of the other elements, how many are selected.
        false_discovery_rate: of what is selected, how much is no evidence.
        auprc: mean over the inputs with known evidence of the average precision of the chances of selection, or of the
            selection where the model has none; chance is the share of the evidence. Of graphs by the scores of edges.
        edge_auc: area under the ROC curve of the scores of edges, over the edges of all graphs together.
        edge_auc_by_graph: likewise, the mean over graphs.
    """

    accuracy: float
    selected: float
    evalx: float
    evalx_random: float
    evalx_complete: float
    mask_only: float
    commonest: float
    again: float | None = None
    swapped: float | None = None
    true_positive_rate: float | None = None
    false_positive_rate: float | None = None
    false_discovery_rate: float | None = None
    auprc: float | None = None
    edge_auc: float | None = None
    edge_auc_by_graph: float | None = None


def selection_report(
    model: nn.Module, train: Iterable[Any], test: Iterable[Any], epochs: int = 10, seed: int = 0, progress: bool = False
) -> SelectionReport:
    """Trains the networks that test a selector, and measures it.

    Args:
        model: a selector, see `Selecting`.
        train: batches with "input" and "target", read several times.
        test: likewise, once; with "regions" (B, R, *places) if the evidence is known.
        epochs: of each of the two networks.
        seed: of their weights and masks.
        progress: show bars.

    Raises:
        ValueError: the model selects nothing, or the task is not classification. For graphs see
            `zoo.metrics.selection.graphs`.
    """
    selector: Any = model
    if not isinstance(getattr(model, "elements", None), Elements) or getattr(model, "additive", True):
        raise ValueError(f"these tests are for models that select elements; {type(model).__name__} does not.")
    if selector.domain.task != "classification":
        raise ValueError("these tests compare accuracies; the task of this model is no classification.")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        device, elements = selector.device, selector.elements
        judge = BlackBox(selector.domain, selector.arguments["backbone"]).to(device)
        classes = len(selector.domain.classes)
        alone = nn.Sequential(nn.Linear(elements.count, 64), nn.ReLU(), nn.Linear(64, classes)).to(device)

        def random_masks(x: Tensor) -> Tensor:
            return judge(elements.hide(x, torch.rand(x.shape[0], elements.count, device=device) < 0.5, "zero"))

        counts = torch.zeros(classes)
        with evaluating(model):
            train_network(judge, random_masks, train, epochs, device, counts, "EVAL-X" if progress else "")
            masks = [(chosen(selector, b["input"].to(device)), b["target"]) for b in map(as_batch, train)]
            train_network(
                alone,
                alone,
                [{"input": m, "target": t} for m, t in masks],
                epochs,
                device,
                None,
                "masks alone" if progress else "",
            )
            judge.eval()
            return _measure(selector, judge, alone, test, float(counts.max() / counts.sum()))


def chosen(selector: Selecting, x: Tensor) -> Tensor:
    """The selection of a batch (B, L), as floats."""
    with torch.no_grad():
        return selector.evidence(x).activation.float()


def ranks(selector: Selecting, x: Tensor) -> Tensor:
    """(B, L) float64, by which the elements of a batch are ranked: the chance of selection, or else the selection."""
    with torch.no_grad():
        evidence = selector.evidence(x)
    return evidence.state.get("chance", evidence.activation).double()


@torch.no_grad()
def _measure(
    selector: Selecting, judge: nn.Module, alone: nn.Module, test: Iterable[Any], commonest: float
) -> SelectionReport:
    elements, device = selector.elements, selector.device
    right = torch.zeros(6, dtype=torch.float64)  # selector, EVAL-X on three kinds of masks, masks alone, swapped
    rows, shown, overlap = 0, 0.0, 0.0
    truth: Tensor | None = None  # evidence, selected evidence, selected, elements
    precisions: list[Tensor] = []  # of the inputs with known evidence
    for batch in map(as_batch, test):
        x, target = batch["input"].to(device), batch["target"].to(device)
        mask = chosen(selector, x)
        present = elements.present(x)
        present = torch.ones_like(mask, dtype=torch.bool) if present is None else present
        noise = torch.rand_like(mask).masked_fill(~present, -1)
        rank = noise.argsort(dim=1, descending=True).argsort(dim=1)
        same_size = rank < mask.sum(1, keepdim=True)
        answer = selector(x).argmax(1)
        seen = elements.expand(mask.bool(), x).expand(x.shape)
        other = torch.where(seen | (x == 0) if not x.is_floating_point() else seen, x, x.roll(1, 0))
        answers = [
            answer,
            judge(elements.hide(x, mask.bool(), "zero")).argmax(1),
            judge(elements.hide(x, same_size, "zero")).argmax(1),
            judge(x).argmax(1),
            alone(mask).argmax(1),
        ]
        right[:5] += torch.tensor([float((a == target).sum()) for a in answers])
        right[5] += float((selector(other).argmax(1) == answer).sum())
        again = chosen(selector, elements.hide(x, mask.bool(), "zero"))
        both, either = (mask * again).sum(1), torch.maximum(mask, again).sum(1)
        overlap += float(torch.where(either > 0, both / either.clamp_min(1), 1.0).sum())
        shown += float(((mask * present).sum(1) / present.sum(1).clamp_min(1)).sum())
        rows += len(x)
        if "regions" in batch:
            evidence = elements.touched(batch["regions"].to(device).float(), x).float() * present
            found = torch.stack([evidence.sum(), (evidence * mask).sum(), (mask * present).sum(), present.sum()]).cpu()
            truth = found if truth is None else truth + found
            known = evidence.any(1)
            precisions.append(average_precision(ranks(selector, x)[known], evidence[known] > 0).cpu())
    accuracy, evalx, evalx_random, evalx_complete, mask_only, swapped = (right / rows).tolist()
    report = SelectionReport(
        accuracy, shown / rows, evalx, evalx_random, evalx_complete, mask_only, commonest, overlap / rows, swapped
    )
    if truth is not None:
        evidence, both, picked, count = truth.tolist()
        report.true_positive_rate = both / evidence if evidence else None
        report.false_positive_rate = (picked - both) / (count - evidence) if count > evidence else None
        report.false_discovery_rate = (picked - both) / picked if picked else None
        each = torch.cat(precisions)
        report.auprc = float(each.mean()) if len(each) else None
    return report
