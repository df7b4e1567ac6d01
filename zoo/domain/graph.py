"""Graphs as one tensor each: a row for every node, then a row for every edge."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from zoo.domain.base import Domain
from zoo.domain.graph_files import TABLE, TABLES, read_graphs, read_network
from zoo.domain.graph_text import IS, GraphText, encode_features, parse_graph
from zoo.domain.smiles import ENDINGS, check_recipe, molecule_graph, read_smiles, recipe_of
from zoo.domain.surroundings import questions, surroundings
from zoo.utils.paths import find_files

LARGEST = 4096  # nodes or edges of an input


@dataclass(frozen=True)
class Graph:
    """An input as people read it.

    Attributes:
        names: of the n nodes that it has.
        nodes: their numbers, from 0.
        features: (n, F) of the nodes, in raw values.
        edges: numbers of the edges that it has, from 0.
        ends: the two nodes of each, as positions in `names`.
        attributes: (m, A) of the edges, in raw values.
    """

    names: tuple[str, ...]
    nodes: tuple[int, ...]
    features: Tensor
    edges: tuple[int, ...]
    ends: tuple[tuple[int, int], ...]
    attributes: Tensor


@dataclass(frozen=True, kw_only=True)
class GraphDomain(Domain):
    """Graphs of at most n nodes and m edges, as tensors (n + m, W) of a row for each node and then each edge.

        node i     [1, its F features, 0 ...]
        edge j     [1, first node, second node, its A features, 0 ...]         W = max(1 + F, 3 + A)

    Rows of 0 are absent, so that a part of a graph is removed by setting its rows to 0. The edges of a removed node are
    absent as well. Node i is the i-th node of the file, from 0. Features are standardised, (value - mean) / std.

    Loops from a node to itself and repeated edges are left out. The two directions of an undirected edge may both be
    given; they are one edge, and must have the same features.

    With a `radius` an input is the part of a network around the node that is asked about, which is node 0: the nodes at
    most that many edges away, whatever their directions, and the edges between them.

    Attributes:
        features: names of the F columns of nodes; "element = C" is 1 if the feature "element" has the value "C".
        edge_features: names of the A columns of edges, likewise.
        nodes: n.
        edges: m.
        mean, std: of each column of nodes; by default 0 and 1.
        edge_mean, edge_std: of each column of edges; by default 0 and 1.
        directed: whether an edge leads only from its first node to its second one.
        smiles: graphs are molecules, written as SMILES, in the column of this name in tables; "" for other graphs.
            Their features are those of `zoo.domain.smiles`, computed by RDKit.
        radius: of the surroundings of a node; None if questions are about graphs.

    Raises:
        ValueError: duplicate names, numbers out of range, or features that molecules do not have.
    """

    modality: ClassVar[str] = "graph"
    noun: ClassVar[str] = "graphs"
    endings: ClassVar[frozenset[str]] = frozenset({".jsonl", ".json", ".csv"})
    features: tuple[str, ...] = ()
    edge_features: tuple[str, ...] = ()
    nodes: int
    edges: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    edge_mean: tuple[float, ...] = ()
    edge_std: tuple[float, ...] = ()
    directed: bool = False
    smiles: str = ""
    radius: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (1 <= self.nodes <= LARGEST and 0 <= self.edges <= LARGEST):
            raise ValueError(
                f"a domain of graphs has 1 to {LARGEST} nodes and 0 to {LARGEST} edges; got {self.nodes} and "
                f"{self.edges}."
            )
        if self.radius is not None and self.radius < 1:
            raise ValueError(f"radius must be at least 1; got {self.radius}.")
        for what, names in (("", self.features), ("edge_", self.edge_features)):
            if len(set(names)) < len(names):
                raise ValueError(f"{what}features must be different names; got {names}.")
            for key, default in ((f"{what}mean", 0.0), (f"{what}std", 1.0)):
                object.__setattr__(self, key, getattr(self, key) or (default,) * len(names))
                if len(getattr(self, key)) != len(names):
                    raise ValueError(f"{key} needs one number for each of {len(names)} features.")
            if names and min(getattr(self, f"{what}std")) <= 0:
                raise ValueError(f"{what}std must be above 0; got {min(getattr(self, f'{what}std'))}.")
        if self.smiles:
            check_recipe(recipe_of(self.features), recipe_of(self.edge_features))
            object.__setattr__(self, "endings", ENDINGS)
            object.__setattr__(self, "quoted", True)

    @property
    def shape(self) -> tuple[int, int]:
        return self.nodes + self.edges, max(1 + len(self.features), 3 + len(self.edge_features))

    def check(self, x: Tensor, model: str) -> None:
        """Refuses a batch that `model` cannot read.

        Raises:
            TypeError, ValueError: see `Domain.check`; also an end of an edge that is not the number of a node.
        """
        super().check(x, model)
        ends = x[:, self.nodes :, 1:3]
        wrong = ((ends != ends.round()) | (ends < 0) | (ends >= self.nodes)).any(2)
        if bool(wrong.any()):
            row, edge = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"{model} got the nodes {ends[row, edge].tolist()} as ends of edge {edge} in row {row} of the batch; "
                f"expected whole numbers from 0 to {self.nodes - 1}."
            )

    def preprocess(self, raw: str) -> Tensor:
        """Converts a graph in JSON, see `zoo.domain.graph_text`, or a SMILES, to an input (n + m, W).

        Raises:
            ImportError: RDKit is not installed, for SMILES.
            ValueError: not such JSON or SMILES; more nodes or edges than n and m; features other than those of the
                domain; or an edge that is given twice with different features.
        """
        return self.encode(self.parse(raw))

    def parse(self, raw: str) -> GraphText:
        """The graph that a text, JSON or SMILES, describes; of a network, the surroundings of its centre.

        Raises:
            ImportError, ValueError: see `preprocess`.
        """
        if self.smiles:
            return molecule_graph(raw, recipe_of(self.features), recipe_of(self.edge_features))
        graph = parse_graph(raw)
        return graph if self.radius is None else surroundings(graph, self.radius)

    def encode(self, graph: GraphText) -> Tensor:
        """Converts a graph to an input (n + m, W).

        Raises:
            ValueError: see `preprocess`.
        """
        self._check_size(len(graph.nodes), self.nodes, "nodes")
        features = encode_features(graph.nodes, self.features, "node")[0]
        attributes = encode_features(graph.edges, self.edge_features, "edge")[0]
        ends, kept = self.distinct_edges(graph, attributes)
        self._check_size(len(ends), self.edges, "edges")
        return self.rows_of(features, torch.tensor(ends).view(-1, 2), attributes[kept])

    def rows_of(self, features: Tensor, ends: Tensor, attributes: Tensor) -> Tensor:
        """The input (n + m, W) of a graph of numbers.

        Args:
            features: (k, F), raw values.
            ends: (l, 2) numbers of nodes, without loops and repeated edges.
            attributes: (l, A), raw values.
        """
        x = torch.zeros(self.shape)
        nodes, edges = x[: len(features)], x[self.nodes : self.nodes + len(ends)]
        nodes[:, 0], edges[:, 0] = 1.0, 1.0
        nodes[:, 1 : 1 + len(self.features)] = (features - torch.tensor(self.mean)) / torch.tensor(self.std)
        edges[:, 1:3] = ends.to(x.dtype)
        edges[:, 3 : 3 + len(self.edge_features)] = (attributes - torch.tensor(self.edge_mean)) / torch.tensor(
            self.edge_std
        )
        return x

    def distinct_edges(self, graph: GraphText, attributes: Tensor) -> tuple[list[tuple[int, int]], list[int]]:
        """Ends and places of the edges that are no loops and no repetitions.

        Raises:
            ValueError: an edge that is given twice with different features (M, A).
        """
        first: dict[tuple[int, int], int] = {}
        for i, (a, b) in enumerate(graph.ends):
            key = (a, b) if self.directed or a <= b else (b, a)
            if a == b:
                continue
            if key in first and not torch.equal(attributes[first[key]], attributes[i]):
                raise ValueError(f"edges {first[key]} and {i} join the same nodes and have different features.")
            first.setdefault(key, i)
        return list(first), list(first.values())

    def _check_size(self, count: int, most: int, what: str) -> None:
        if count > most:
            raise ValueError(
                f"the graph has {count} {what}; the model reads at most {most}. Train with data whose option `{what}` "
                f"is larger{'' if self.radius is None else ', or whose `radius` is smaller'}."
            )

    def graph(self, x: Tensor, text: str = "") -> Graph:
        """An input (n + m, W) as people read it.

        Args:
            x: the input.
            text: of which `preprocess` made it, for the names of nodes.
        """
        x = x.detach().cpu().float()
        node, edge = x[: self.nodes], x[self.nodes :]
        nodes = (node[:, 0] > 0).nonzero().flatten().tolist()
        features = node[nodes, 1 : 1 + len(self.features)] * torch.tensor(self.std) + torch.tensor(self.mean)
        place = {node: i for i, node in enumerate(nodes)}
        pairs = edge[:, 1:3].long().tolist()
        edges = [
            j for j, (a, b) in enumerate(pairs) if edge[j, 0] > 0 and a in place and b in place
        ]  # also without the edges of removed nodes
        ends = tuple((place[pairs[j][0]], place[pairs[j][1]]) for j in edges)
        attributes = edge[edges, 3 : 3 + len(self.edge_features)] * torch.tensor(self.edge_std)
        attributes = attributes + torch.tensor(self.edge_mean)
        known = bool(text) and (not self.smiles or find_spec("rdkit") is not None)
        names = self._names(nodes, features, self.parse(text).names if known else ())
        return Graph(names, tuple(nodes), features, tuple(edges), ends, attributes)

    def _names(self, nodes: list[int], features: Tensor, written: Sequence[str]) -> tuple[str, ...]:
        """As written; else the first category of a node and its number, such as "C3", or its number."""
        group = next((name.rpartition(IS)[0] for name in self.features if IS in name), "")
        columns = [k for k, name in enumerate(self.features) if group and name.rpartition(IS)[0] == group]
        names = []
        for i, node in enumerate(nodes):
            level = [self.features[k].rpartition(IS)[2] for k in columns if features[i, k] > 0.5]
            own = written[node] if node < len(written) else ""
            names.append(own or f"{level[0] if level else ''}{node}")
        return tuple(names)

    def warnings(self, raw: str, x: Tensor) -> list[str]:
        graph = self.parse(raw)
        found = encode_features(graph.nodes, self.features, "node")[1]
        found += encode_features(graph.edges, self.edge_features, "edge")[1]
        if loops := sum(a == b for a, b in graph.ends):
            found.append(f"{loops} edge{'s lead' if loops > 1 else ' leads'} from a node to itself and are left out.")
        repeated = len(graph.ends) - loops - int((x[self.nodes :, 0] > 0).sum())
        both = len(set(graph.ends)) == len(graph.ends) and not self.directed  # only written in both directions
        if repeated and not both:
            found.append(f"{repeated} edge{'s are' if repeated > 1 else ' is'} given more than once and read once.")
        return found

    def raw(self, path: str | Path) -> str:
        """The graph of a JSON file, or the only one of a table, a file of JSON lines or of SMILES.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file has another number of graphs, or cannot be read.
        """
        graphs = self.rows(path)
        if len(graphs) != 1:
            what = "graphs; expected one" if self.radius is None else "nodes; name one of them under 'centre'"
            raise ValueError(f"{path} has {len(graphs)} {what}.")
        return graphs[0]

    def rows(self, path: str | Path) -> list[str]:
        """The graphs of a file; of networks, the surroundings of each node that is asked about, see `questions`."""
        if self.smiles:
            return read_smiles(Path(path), self.smiles)
        if self.radius is None:
            return read_graphs(Path(path))
        networks = (parse_graph(text) for text in read_network(Path(path)))
        return [one for network in networks for one in questions(network, self.radius, self.features)]

    def files(self, folder: Path) -> list[Path]:
        """The files of graphs below a folder; of tables only graphs.csv, of networks nodes.csv, with SMILES all."""
        found, table = find_files(folder, self.endings), TABLES[TABLE if self.radius is None else "nodes"]
        return [p for p in found if self.smiles or p.suffix.lower() != ".csv" or p.name.lower() == table]

    def example(self, count: int, generator: torch.Generator) -> Tensor:
        """Inputs (count, n + m, W): random trees with some further edges, and random features."""
        x = torch.zeros(count, *self.shape)
        for one in x:
            n = int(torch.randint(max(self.nodes // 2, 1), self.nodes + 1, (), generator=generator))
            n = min(n, self.edges + 1)
            pairs = [(int(torch.randint(i, (), generator=generator)), i) for i in range(1, n)]
            more = torch.randint(n, (min(n // 4, self.edges - len(pairs)), 2), generator=generator).tolist()
            pairs += [(min(p), max(p)) for p in more]
            pairs = list(dict.fromkeys((a, b) for a, b in pairs if a != b))
            nodes, edges = one[:n], one[self.nodes : self.nodes + len(pairs)]
            nodes[:, 0], edges[:, 0] = 1.0, 1.0
            nodes[:, 1 : 1 + len(self.features)] = torch.randn(n, len(self.features), generator=generator)
            edges[:, 1:3] = torch.tensor(pairs, dtype=x.dtype).view(-1, 2)
            edges[:, 3 : 3 + len(self.edge_features)] = torch.randn(
                len(pairs), len(self.edge_features), generator=generator
            )
        return x
