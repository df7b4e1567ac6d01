"""Re-explanation, extension and topology of graphs: a model that reads its motif, and one that shows other edges."""

from collections.abc import Iterator
from random import Random

import pytest
import torch
from torch import Tensor, nn

from tests.small_models import GRAPHS, build
from zoo.core.evidence import Unit
from zoo.core.explanation import Explanation
from zoo.domain import GraphDomain
from zoo.metrics import graph_selection_report
from zoo.metrics.faithfulness import Case, Extension, ReExplanation, Subject
from zoo.metrics.faithfulness.controls import EncoderCheat
from zoo.metrics.faithfulness.graph_edges import edge_labels, edge_scores, random_edges, subgraph, top_edges
from zoo.metrics.faithfulness.graph_parts import Part, attached, grown, part
from zoo.training.batch import Batch

DOMAIN = GraphDomain(classes=("a", "b"), edge_features=("of a", "of b"), nodes=14, edges=16)


def graphs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """A path of nine nodes and a triangle, whose edges have 1.0, 0.9 and 0.8 in the feature of the class."""
    random, labels, x = Random(seed), torch.arange(count) % 2, torch.zeros(count, *DOMAIN.shape)
    for one, label in zip(x, labels.tolist(), strict=True):
        pairs = [(i, i + 1) for i in range(8)] + [(9, 10), (10, 11), (9, 11), (random.randrange(9), 9)]
        one[:12, 0] = 1
        one[14 : 14 + len(pairs), 0] = 1
        one[14 : 14 + len(pairs), 1:3] = torch.tensor(pairs).float()
        one[22:25, 3 + label] = torch.tensor([1.0, 0.9, 0.8])
    return x, labels


class Reads(Subject):
    """Scores are sums of the features of edges, and the explanation is where they are."""

    def __init__(self) -> None:
        self.model, self.domain, self.additive, self.limit = nn.Linear(1, 1), DOMAIN, True, 2**20
        self.model.device, self.name = torch.device("cpu"), "Reads"
        self.model.domain, self.model.additive = DOMAIN, True

    def scores(self, x: Tensor) -> Tensor:
        return (x[:, 14:, 3:] * x[:, 14:, :1]).sum(1)

    def explain(self, x: Tensor, target: Tensor | None = None) -> Explanation:
        scores = self.scores(x)
        target = scores.argmax(1) if target is None else target
        at = (x[..., 3:] * (x[..., :1] > 0)).gather(2, target.view(-1, 1, 1).expand(-1, x.shape[1], 1))[..., 0]
        at[:, :14] = 0  # rows of nodes
        own = scores.gather(1, target[:, None])
        return Explanation(scores, target, own, 0 * own[:, 0], own, at[:, None], (Unit("motif", "group"),), DOMAIN, x)

    def margins(self, x: Tensor, target: Tensor) -> Tensor:
        return self.scores(x).gather(1, target[:, None])


def measured(subject: Subject) -> dict[str, float]:
    x, labels = graphs(24, 1)
    case, found = Case(subject, x, torch.arange(24), None, labels), {}
    for metric in (ReExplanation(), Extension(subject, graphs(20, 2)[0])):
        metric.update(case)
        found |= {name: value.item() for name, value in metric.compute().items()}
    return found


def test_a_model_that_reads_its_explanation_is_ideal() -> None:
    found = measured(Reads())
    assert [found[name] for name in ("rank correlation", "flips", "stays", "follows")] == [1, 0, 1, 1]
    assert found["flips, random edges"] > 0.2 and found["follows, random edges"] < 0.9


def test_fixed_edges_beside_the_motif_lose() -> None:
    found = measured(EncoderCheat(Reads()))
    assert found["flips"] == 0.5  # nothing is left to read, so the answer is always the first class
    assert found["follows"] == 0  # the other graph keeps what is read


class Batches:
    def __iter__(self) -> Iterator[Batch]:
        for seed in range(3):
            x, labels = graphs(32, seed)
            regions = torch.zeros(32, 1, 30)
            regions[:, 0, 22:25] = 1
            yield {"input": x, "target": labels, "regions": regions}


def test_topology_alone_tells_the_class_of_a_planted_code_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.metrics.selection.graphs.STEPS", 120)
    honest = graph_selection_report(Reads(), Batches(), Batches(), epochs=1)
    assert honest.edge_auc == honest.edge_auc_by_graph == honest.true_positive_rate == honest.accuracy == 1
    assert honest.selected == 3 / 12 and honest.false_discovery_rate == 0
    assert honest.mask_only == 0.5 and honest.evalx >= 0.95  # both classes have a triangle
    coded = graph_selection_report(EncoderCheat(Reads()), Batches(), Batches(), epochs=1)
    assert coded.mask_only == 1
    assert coded.edge_auc is not None and coded.edge_auc < 0.5 and coded.true_positive_rate == 0


@pytest.mark.parametrize("name", ["sum_gin", "gnan", "gsat"])
def test_scores_of_edges_by_hand(name: str) -> None:
    small = build(name)
    case = Case(Subject(small.model), small.inputs, torch.arange(5), regions=torch.ones(5, 1, 11))
    found, told, labels = edge_scores(case), case.explanation, edge_labels(case)
    nodes = told.details["by node"].sum(1) if name == "gnan" else case.margins
    for b, x in enumerate(small.inputs):
        for e, (there, first, second) in enumerate(x[GRAPHS.nodes :, :3].tolist()):
            expected = (nodes[b, int(first)].abs() + nodes[b, int(second)].abs()).item() / 2
            if name == "gsat":
                expected = told.support[b, :, GRAPHS.nodes + e].max().item()
            assert found[b, e].item() == pytest.approx(expected if there else 0.0, abs=1e-6)
            assert bool(labels[b, e].isnan()) != bool(there)


def test_the_edges_that_are_kept_by_hand() -> None:
    scores, present = torch.tensor([[0.2, 0.9, 0.0, 0.5, 7.0]]), torch.tensor([[True, True, True, True, False]])
    assert top_edges(scores, present, torch.zeros(1).long(), 0.5).tolist() == [[False, True, False, True, False]]
    assert top_edges(scores, present, torch.zeros(1).long(), 1.0).sum() == 3  # not that of 0
    assert (random_edges(present, present, torch.zeros(1).long()) == present).all()
    equal = top_edges(torch.ones(40, 5), torch.ones(40, 5, dtype=torch.bool), torch.arange(40), 0.2)
    assert (equal.sum(1) == 1).all() and (equal.sum(0) > 0).all()
    x = graphs(1, 0)[0]
    kept = subgraph(x, torch.arange(16)[None] == 1, DOMAIN)
    assert kept[0, :14, 0].nonzero()[:, 0].tolist() == [1, 2] and kept[0, 14:, 0].nonzero()[:, 0].tolist() == [1]


def test_graphs_are_joined_by_one_edge_and_what_is_held_stays() -> None:
    x = graphs(1, 0)[0][0]
    whole = part(x, x[:14, 0] > 0, x[14:, 0] > 0, DOMAIN)
    piece = grown(whole, 3, Random(0))
    assert len(piece.ends) == 3 and len(piece.nodes) in (3, 4)
    joined = attached(whole, {9, 10, 11}, piece, Random(0), DOMAIN)
    assert joined is not None
    DOMAIN.check(joined[None], "test")
    count = int(joined[:14, 0].sum())
    assert count <= 14 and joined[14:, 0].sum() <= 16
    of_motif = (joined[14:, 3:] > 0).any(1).sum()
    assert of_motif >= 3  # held
    ends = joined[14:][joined[14:, 0] > 0, 1:3].long()
    first = count - len(piece.nodes)
    assert ((ends < first).any(1) & (ends >= first).any(1)).sum() == 1
    large = Part(torch.ones(14, 5), [], torch.zeros(0, 5))
    assert attached(whole, set(range(12)), large, Random(0), DOMAIN) is None
