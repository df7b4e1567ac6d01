"""Where in a corpus the nodes of a circuit have their largest, median and smallest values, in one pass over it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from zoo.circuits.network.circuit import Circuit
from zoo.circuits.network.trace import Trace
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.domain.text import PAD
from zoo.training.projection_set import ProjectionSet
from zoo.utils.atomic import write_bytes

GROUPS = ("top", "median", "bottom")
SPARE = 32  # candidates for each context that is kept, of which many are equal in a repetitive corpus
ALIKE = 6  # last tokens by which two contexts are told apart
TENSORS = ("tokens", "values", "place", "active", "largest", "smallest")


@dataclass(frozen=True, eq=False)
class Contexts:
    """Places of a corpus at which the nodes of a circuit have their largest, median and smallest values.

    The values are those in the complete network. The median is that of the values other than 0.

    Attributes:
        tokens: (n, 3, M, W) int32, windows of the corpus around each place, padded with 0 on both sides; the groups are
            `GROUPS`. An empty window means that there were fewer contexts.
        values: (n, 3, M, W), values of the node at these tokens.
        place: index of the token of the place in its window, 0-dimensional.
        active: (n,), share of the corpus at which the node is not 0.
        largest: (n,), largest value in the corpus.
        smallest: (n,), smallest value.
        count: number of tokens of the corpus.
    """

    tokens: Tensor
    values: Tensor
    place: Tensor
    active: Tensor
    largest: Tensor
    smallest: Tensor
    count: int

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file; values are rounded to half precision."""
        tensors = {name: getattr(self, name).cpu().contiguous() for name in TENSORS}
        smallest = torch.int16 if int(self.tokens.max()) < 2**15 else torch.int32
        tensors |= {"tokens": tensors["tokens"].to(smallest), "values": tensors["values"].half()}
        write_bytes(Path(path), save(tensors, {"count": str(self.count)}))

    @staticmethod
    def load(path: str | Path) -> "Contexts":
        """Reads contexts written by `save`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file does not contain contexts.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no contexts at {path}; run `train.py circuit --contexts` first.")
        try:
            with safe_open(str(path), framework="pt") as opened:
                count = (opened.metadata() or {}).get("count", "")
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a valid safetensors file ({error}).") from error
        if set(tensors) != set(TENSORS) or not count.isdigit():
            raise ValueError(f"{path} does not contain contexts; expected a file written by Contexts.save().")
        wide = {"tokens": tensors["tokens"].int(), "values": tensors["values"].float()}
        return Contexts(**(tensors | wide), count=int(count))


def contexts_path(circuit: str | Path) -> Path:
    """Where the contexts of a circuit are: beside its file."""
    path = Path(circuit).with_suffix("")
    return path.with_name(f"{path.name}.contexts.safetensors")


class _Extremes:
    """The places of the largest keys of each node so far: key, window and position, (R, n) each."""

    def __init__(self, rows: int, nodes: int, device: torch.device) -> None:
        self.rows = rows
        self.key = torch.full((rows, nodes), -torch.inf, device=device)
        self.window, self.position = (torch.zeros(rows, nodes, dtype=torch.long, device=device) for _ in range(2))
        self.value = torch.zeros(rows, nodes, device=device)

    def update(self, key: Tensor, value: Tensor, window: Tensor, position: Tensor) -> None:
        """Adds places (P, n) of a batch; windows and positions are (P,)."""
        best = key.topk(min(self.rows, len(key)), 0)
        found = {
            "key": best.values,
            "value": value.gather(0, best.indices),
            "window": window[best.indices],
            "position": position[best.indices],
        }
        joined = {name: torch.cat([getattr(self, name), part]) for name, part in found.items()}
        order = joined["key"].topk(self.rows, 0).indices
        for name, part in joined.items():
            setattr(self, name, part.gather(0, order))


@torch.no_grad()
def measure_contexts(
    model: SparseTransformer,
    circuit: Circuit,
    projection_set: ProjectionSet,
    each: int = 4,
    before: int = 15,
    after: int = 4,
    seed: int = 0,
) -> Contexts:
    """Reads a corpus once and keeps a few contexts of each node; memory does not grow with the corpus.

    Contexts of a node differ in their last tokens, or in more than the padding. Those of the median are the nearest to
    the median of a uniform sample of the values other than 0.

    Args:
        model: of the circuit.
        circuit: whose nodes are observed.
        projection_set: windows of the corpus; it is read in one process.
        each: number of contexts M of each group.
        before: tokens of a window before its place.
        after: tokens after it.
        seed: of the sample.

    Raises:
        ValueError: the circuit belongs to a network of other sizes, or the corpus is empty.
    """
    network, device = model.network, model.device
    circuit.ablation(network)  # raises if it belongs to another network
    where = [network.layout.locate(n) for n in circuit.nodes.tolist()]
    draw, count = torch.Generator(device).manual_seed(seed), 0
    places = {group: _Extremes(SPARE * each, len(where), device) for group in GROUPS}
    active = torch.zeros(len(where), dtype=torch.long, device=device)
    for batch in projection_set:
        tokens = batch["input"]
        real = tokens.flatten() != PAD
        values = _values(network.trace(record=True), model, tokens, where).flatten(0, 1)[real]
        window = batch["index"][:, None].expand_as(tokens).flatten()[real]
        position = torch.arange(tokens.shape[1], device=device).expand_as(tokens).flatten()[real]
        lots = torch.rand(values.shape, generator=draw, device=device).masked_fill(values == 0, -torch.inf)
        for group, key in zip(GROUPS, (values, lots, -values), strict=True):
            places[group].update(key, values, window, position)
        active += (values != 0).sum(0)
        count += len(values)
    if count == 0:
        raise ValueError("the corpus has no tokens, so there are no contexts; use other data.")
    middle = places["median"]
    drawn = middle.key.isfinite()
    median = middle.value.masked_fill(~drawn, torch.nan).nanmedian(0).values.nan_to_num()
    distance = (middle.value - median).abs()
    middle.key = torch.where(drawn, -distance, -torch.inf)
    largest, smallest = places["top"].key[0].clone(), -places["bottom"].key[0]
    places["bottom"].key[places["bottom"].value >= 0] = -torch.inf  # a node that is never negative has no bottom
    windows = [
        [_windows(places[group], k, projection_set, each, before, after) for group in GROUPS] for k in range(len(where))
    ]
    chosen = torch.tensor(windows, dtype=torch.long).view(len(where), len(GROUPS), each, -1)
    found = _around(model, projection_set, chosen, where, before, after)
    return Contexts(*found, torch.tensor(before), active.cpu() / count, largest.cpu(), smallest.cpu(), count)


def _values(trace: Trace, model: SparseTransformer, tokens: Tensor, where: list[tuple[int, str, int]]) -> Tensor:
    """Values (B, T, n) of nodes in the complete network."""
    model.network(tokens, trace, torch.zeros_like(tokens[:, 0]))
    if not where:
        return torch.zeros(*tokens.shape, 0, device=tokens.device)
    return torch.stack([trace.values[layer, site][..., index] for layer, site, index in where], -1)


def _windows(
    places: _Extremes, node: int, projection_set: ProjectionSet, each: int, before: int, after: int
) -> list[list[int]]:
    """Window and position of the best `each` places of a node with different contexts; -1 where there are no more."""
    found: dict[tuple[int, ...], list[int]] = {}
    for r in places.key[:, node].argsort(descending=True, stable=True).tolist():
        if len(found) == each or not bool(places.key[r, node].isfinite()):
            break
        window, position = int(places.window[r, node]), int(places.position[r, node])
        tokens = projection_set.input(window)
        last = tuple(tokens[max(position - ALIKE + 1, 0) : position + 1].tolist())
        found.setdefault(last, [window, position])
    return [*found.values(), *([[-1, 0]] * (each - len(found)))]


def _around(
    model: SparseTransformer,
    projection_set: ProjectionSet,
    chosen: Tensor,
    where: list[tuple[int, str, int]],
    before: int,
    after: int,
) -> tuple[Tensor, Tensor]:
    """Tokens and values (n, 3, M, W) around the places (n, 3, M, 2)."""
    size = before + 1 + after
    tokens = torch.zeros(*chosen.shape[:3], size, dtype=torch.int32)
    values = torch.zeros(*chosen.shape[:3], size)
    for k in range(len(where)):
        rows = (chosen[k, ..., 0] >= 0).nonzero()
        if not len(rows):
            continue
        inputs = torch.stack([projection_set.input(int(chosen[k, g, i, 0])) for g, i in rows.tolist()])
        own = _values(model.network.trace(record=True), model, inputs, where[k : k + 1])[..., 0].cpu()
        for (g, i), text, value in zip(rows.tolist(), inputs.cpu(), own, strict=True):
            position = int(chosen[k, g, i, 1])
            start, end = max(position - before, 0), min(position + after + 1, len(text))
            part = slice(before - (position - start), before + (end - position))
            tokens[k, g, i, part], values[k, g, i, part] = text[start:end].int(), value[start:end]
    return tokens, values
