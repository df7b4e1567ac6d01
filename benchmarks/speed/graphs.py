"""Graphs: the counted form of GNAN against the formula over all pairs, and a training step of GIN against PyG's.

The formula over pairs is that of the paper: the function of the distance at every pair of nodes of each graph, and one
network for each feature. It gets its distances for nothing, as the counted form gets its counts, which are remembered
from the first epoch on; "with counting" is that epoch.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness import Case, Goal, training_step
from zoo.data import BA2Motifs
from zoo.domain import GraphDomain
from zoo.graphs import GNAN
from zoo.graphs.gnan import DEGREE
from zoo.graphs.layers.distances import distance_counts
from zoo.networks.graph_batch import GraphBatch
from zoo.training.black_box import BlackBox

ROWS, WIDTH = 128, 64


def cases(device: torch.device) -> Iterator[Case]:
    data = BA2Motifs(count=ROWS, test_count=1)
    domain, items = data.make_domain(), data.items("train", False)
    x, target = items.inputs.to(device), items.targets.to(device)
    yield gnan(domain, x, None)
    large = GraphDomain(classes=("a", "b"), nodes=100, edges=130)
    yield gnan(large, large.example(ROWS // 4, torch.Generator().manual_seed(0)).to(device), Goal(at_least=50))
    if find_spec("torch_geometric") is not None:
        backbone = {"name": "gin", "width": WIDTH, "layers": 2}
        ours = training_step(BlackBox(domain, backbone).to(device), {"input": x, "target": target})
        yield Case(
            f"GIN, training step on {ROWS} graphs of 25 nodes, width {WIDTH}",
            {"zoo": ours, "PyG": peer_step(domain, x, target)},
            cost=True,
            goal=Goal(at_most=1.2),
            apart=None,
        )


def gnan(domain: GraphDomain, x: Tensor, goal: Goal | None) -> Case:
    """Scores of a batch without explanations, as in training."""
    torch.manual_seed(0)
    model = GNAN(domain, furthest=domain.nodes).to(x.device).train()
    batch = GraphBatch.of(x, domain)
    counts = distance_counts(batch, model.furthest)

    @torch.no_grad()
    def counted() -> Tensor:
        return model.readout(model.counted(batch, counts))

    @torch.no_grad()
    def counting() -> Tensor:
        return model.readout(model.counted(batch, distance_counts(batch, model.furthest)))

    return Case(
        f"GNAN, scores of {len(x)} graphs, {len(batch.row) // len(x)} nodes in the mean",
        {"zoo": counted, "all pairs": over_pairs(model, domain, x), "zoo with counting": counting},
        goal=goal,
        apart=1e-5,
    )


def over_pairs(model: GNAN, domain: GraphDomain, x: Tensor) -> Callable[[], Tensor]:
    """The same scores as a sum over pairs of nodes, one graph and one feature at a time."""
    graphs = [pairs(domain, one, model.furthest) for one in x]

    @torch.no_grad()
    def run() -> Tensor:
        sums = []
        for reached, apart, share, features in graphs:
            near = model.distance.at(1 / (1 + apart.flatten())[None])[:, 0]  # (n², 1)
            weight = near.view_as(apart) * share * reached
            total = model.bias.clone()
            for k in range(features.shape[1]):
                read = torch.zeros_like(features)
                read[:, k] = features[:, k]
                total = total + (weight @ model.functions.at(read.T)[:, k]).sum(0)
            sums.append(total)
        log_odds = torch.stack(sums)
        return torch.cat([-log_odds / 2, log_odds / 2], 1)

    return run


def pairs(domain: GraphDomain, x: Tensor, furthest: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of one graph (n, n) whether a pair is near enough, its distance and its share; and what the functions read."""
    graph = domain.graph(x)
    n = len(graph.names)
    apart = torch.full((n, n), torch.inf)
    apart.fill_diagonal_(0)
    for a, b in graph.ends:
        apart[a, b] = apart[b, a] = 1
    for k in range(n):
        apart = torch.minimum(apart, apart[:, k, None] + apart[None, k])
    reached = apart <= furthest
    apart = apart.masked_fill(~reached, 0)
    same = (apart[:, :, None] == apart[:, None]) & reached[:, None]  # (i, j, j')
    share = 1 / same.sum(2).clamp_min(1)
    degree = (apart == 1).sum(1, keepdim=True) / DEGREE
    features = torch.cat([torch.ones(n, 1), degree], 1)
    return tuple(value.to(x.device) for value in (reached, apart, share, features))  # pyright: ignore


def peer_step(domain: GraphDomain, x: Tensor, target: Tensor) -> Callable[[], None]:
    """The losses and gradients of the same network of torch_geometric, on a batch that is already collated."""
    from torch_geometric.data import Batch, Data
    from torch_geometric.nn import GINConv, global_add_pool

    def layer() -> nn.Module:
        return GINConv(
            nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        )

    items = []
    for one in x:
        graph = domain.graph(one)
        ends = torch.tensor(graph.ends).T
        items.append(Data(x=torch.ones(len(graph.names), 1), edge_index=torch.cat([ends, ends.flip(0)], 1)))
    batch = Batch.from_data_list(items).to(x.device)
    parts = nn.ModuleList([nn.Linear(1, WIDTH), layer(), layer(), nn.Linear(WIDTH, 2)]).to(x.device)

    def run() -> None:
        parts.zero_grad()
        h = parts[0](batch.x)
        for one in (parts[1], parts[2]):
            h = one(h, batch.edge_index)
        F.cross_entropy(parts[3](global_add_pool(h, batch.batch, batch.num_graphs)), target).backward()

    return run
