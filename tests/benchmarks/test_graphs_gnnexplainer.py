"""GNNExplainer on the black box: the adapter computes the same scores, and masks are those of torch_geometric."""

import pytest
import torch

from tests.small_models import GRAPHS
from zoo.networks.graph_batch import GraphBatch
from zoo.training.black_box import BlackBox

pytestmark = pytest.mark.filterwarnings("ignore")
pytest.importorskip("torch_geometric")


def test_scores_are_the_same_and_each_edge_has_one_mask() -> None:
    from benchmarks.graphs_gnnexplainer import Explained

    torch.manual_seed(0)
    model = BlackBox(GRAPHS, {"name": "gin", "width": 4, "layers": 2, "hidden": [3]}).eval()
    subject = Explained(model, epochs=2)
    x = GRAPHS.example(3, torch.Generator().manual_seed(0))
    x[2, GRAPHS.nodes :] = 0  # a graph without edges
    state = torch.get_rng_state()
    told = subject.explain(x)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        torch.testing.assert_close(told.scores, model(x))
    batch = GraphBatch.of(x, GRAPHS)
    both = torch.cat([batch.ends, batch.ends.flip(0)], 1)
    scores = subject.adapter(batch.features, both, batch.attributes.repeat(2, 1), batch)
    torch.testing.assert_close(scores, told.scores, rtol=1e-4, atol=1e-5)
    there = x[:, GRAPHS.nodes :, 0] > 0
    assert not told.activation[~there].any() and told.activation.min() >= 0 and told.activation.max() <= 1
    assert told.contributions is None and torch.equal(subject.explain(x).activation, told.activation)


def test_graphs_are_explained_as_if_each_were_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.graphs_gnnexplainer import Explained, GNNExplainer, Together

    def start(self: Together, x: torch.Tensor, edge_index: torch.Tensor) -> None:
        GNNExplainer._initialize_masks(self, x, edge_index)
        self.edge_mask.data.fill_(0.3)

    monkeypatch.setattr(Together, "_initialize_masks", start)  # the same for any number of graphs
    subject = Explained(BlackBox(GRAPHS, {"name": "gin", "width": 4, "layers": 2, "hidden": [3]}).eval(), epochs=20)
    x = GRAPHS.example(1, torch.Generator().manual_seed(0))
    alone, together = subject.explain(x).activation, subject.explain(x.expand(6, -1, -1)).activation
    torch.testing.assert_close(together, alone.expand(6, -1), atol=1e-3, rtol=0)
