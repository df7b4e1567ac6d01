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
    for i, one in enumerate(x[:2]):
        batch = GraphBatch.of(one[None], GRAPHS)
        both = torch.cat([batch.ends, batch.ends.flip(0)], 1)
        scores = subject.adapter(batch.features, both, batch.attributes.repeat(2, 1))
        torch.testing.assert_close(scores[0], told.scores[i], rtol=1e-4, atol=1e-5)
    there = x[:, GRAPHS.nodes :, 0] > 0
    assert not told.activation[~there].any() and told.activation.min() >= 0 and told.activation.max() <= 1
    assert told.contributions is None and torch.equal(subject.explain(x[1:]).activation, told.activation[1:])
