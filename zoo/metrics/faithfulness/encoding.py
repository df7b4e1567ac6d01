"""M10: is the label encoded in the content of the evidence, or only in its location?"""

import math
from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.domain import CodeDomain, Domain, ImageDomain, TextDomain
from zoo.metrics.cover import smallest_cover
from zoo.metrics.faithfulness.base import Column, FaithfulnessMetric
from zoo.metrics.faithfulness.elements import TOKENS, cells_of, element_shape, over_input
from zoo.metrics.faithfulness.subject import Case
from zoo.metrics.faithfulness.sufficiency import shifted
from zoo.utils.progress import track

if TYPE_CHECKING:
    from zoo.data.base.module import DataModule

UNKNOWN = 1  # token id that replaces masked ones


class EncodingGap(FaithfulnessMetric):
    """The accuracy of the model minus the accuracy of a second network that sees only the model's evidence.

        gap                      accuracy of the model - accuracy of the evaluator on the evidence
        evaluator on evidence    accuracy of the evaluator with all elements but the evidence removed
        evaluator elsewhere      the same for the evidence moved by a random shift, of equal area and shape
        evaluator on everything  accuracy of the evaluator on the whole input, the ceiling
        model                    accuracy of the model

    The evidence is the fewest elements that hold 90 % of the positive contributions spread over the input. The
    evaluator is trained on random masks, so the location of a mask carries no information for it. Evidence that
    encodes the label in its location only (a selector can learn this) has a large gap. 0 is ideal. Read the gap beside
    the ceiling, because a weak evaluator has a gap too. Samples without evidence have no value. After Jethani et al.:
    "Have We Learned to Explain?", AISTATS 2021, arXiv 2103.01890, section 4 (EVAL-X).

    Args:
        evaluator: a result of `train_evaluator` for the same data; one evaluator serves all models.
        shifts: number of shifts to compare with.
        seed: of the shifts.
    """

    key, title = "M10", "encoding gap"
    columns = (
        Column("gap", -1, None, 0.0),
        Column("evaluator on evidence", 1),
        Column("evaluator elsewhere"),
        Column("evaluator on everything"),
        Column("model"),
    )
    needs = ("support", "classes")

    def __init__(self, evaluator: "Evaluator | None", shifts: int = 2, seed: int = 0) -> None:
        super().__init__()
        self.evaluator, self.shifts, self.seed = evaluator, shifts, seed

    def lacking(self) -> str | None:
        return None if self.evaluator is not None else "needs an evaluator; request M10 by name to train one"

    def per_sample(self, case: Case) -> Tensor:
        labels, evaluator = case.labels, self.evaluator
        if labels is None:
            raise ValueError(f"{self.title} needs the true classes, Case(labels=...).")
        if evaluator is None:
            raise ValueError(f"{self.title} {self.lacking()}.")
        evaluator.eval().to(case.x.device)
        right = lambda kept: (evaluator(case.x, kept).argmax(1) == labels).double()  # noqa: E731
        chosen = smallest_cover(case.evidence_map)
        with torch.no_grad():
            here, everything = right(chosen), right(case.present)
            sets = [shifted(chosen, case, i, self.seed) for i in range(self.shifts)]
            away = torch.stack([right(moved) for moved in sets]).mean(0)
        model = (case.explanation.scores.argmax(1) == labels).double()
        none = ~chosen.any(1, keepdim=True)
        return torch.stack([model - here, here, away, everything, model], 1).masked_fill(none, torch.nan)


class Evaluator(nn.Module):
    """A classifier of masked inputs; masked elements are 0 or the unknown token."""

    def __init__(self, network: nn.Module, domain: Domain) -> None:
        super().__init__()
        self.network, self.domain = network, domain

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        """Scores (B, C) of inputs (B, *shape) with only the elements kept (B, N) bool visible."""
        blank = (x != 0).to(x) * UNKNOWN if self.domain.modality in TOKENS else torch.zeros_like(x)
        return self.network(torch.where(over_input(kept, self.domain), x, blank))


def train_evaluator(
    data: "DataModule | tuple[Tensor, Tensor]",
    domain: Domain | None = None,
    network: nn.Module | None = None,
    epochs: int = 10,
    seed: int = 0,
    progress: str = "",
    batch_size: int = 128,
    lr: float = 1e-3,
    device: str | torch.device = "cpu",
) -> Evaluator:
    """Trains a network on inputs under random masks, with the share of visible elements uniform in [0, 1].

    A given network, such as the black-box counterpart of the models to evaluate, is copied; it should have at least
    their capacity. The global random state is not changed.

    Args:
        data: a data module, whose training items are used, or inputs (N, *shape) and targets (N,).
        domain: of the inputs; by default that of the data module.
        network: maps inputs (B, *shape) to scores (B, C); by default a small network for the modality.
        epochs: passes over the data.
        seed: of parameters, order and masks.
        progress: title of the progress bar; none if empty.
        batch_size: for tensors; a data module has its own.
        lr: learning rate of Adam.
        device: to train on; the evaluator stays there.

    Raises:
        ValueError: tensors without a domain, targets that are not classes, different numbers of inputs and targets, or
            fewer than one epoch.
    """
    pair = isinstance(data, tuple | list)
    if domain is None:
        if pair:
            raise ValueError("an evaluator trained on tensors needs their domain; pass domain=...")
        domain = Domain.from_dict(data.domain)
    if domain.task != "classification":
        raise ValueError(f"an evaluator is a classifier; these targets are of a {domain.task}.")
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1; got {epochs}.")
    if pair and len(data[0]) != len(data[1]):
        raise ValueError(f"expected one target for each input; got {len(data[0])} inputs and {len(data[1])} targets.")
    if not pair:
        data.prepare_data()
        data.setup("fit")
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        draw = torch.Generator().manual_seed(seed)
        trainer = getattr(network, "_trainer", None)  # must not be copied
        own = small_network(domain) if network is None else deepcopy(network, {id(trainer): None})
        evaluator = Evaluator(own, domain).to(device).train()
        optimizer = torch.optim.Adam(evaluator.parameters(), lr=lr)
        for epoch in track(range(epochs), progress, shown=bool(progress)):
            for x, target in _batches(data, epoch, batch_size, draw):
                scores = evaluator(x.to(device), random_kept(x, domain, draw).to(device))
                optimizer.zero_grad()
                F.cross_entropy(scores, target.to(device)).backward()
                optimizer.step()
    return evaluator.eval().requires_grad_(False)


def random_kept(x: Tensor, domain: Domain, draw: torch.Generator) -> Tensor:
    """(B, N) bool: random visible elements, with shares uniform in [0, 1].

    Masks consist of single elements or of cells of a coarser grid, drawn once for the batch, down to two cells per
    axis. Features of tables have no neighbours, so their masks have single elements only.
    """
    shape = element_shape(domain)
    levels = 1 if domain.modality == "table" else max(int(math.log2(max(shape))), 1)
    level = int(torch.randint(levels, (), generator=draw))
    grid = tuple(max(size >> level, min(size, 2)) for size in shape)
    noise = torch.rand(len(x), math.prod(grid), generator=draw)[:, cells_of(grid, shape)]
    return noise < torch.rand(len(x), 1, generator=draw)


def small_network(domain: Domain) -> nn.Module:
    """A convolutional network for images, a mean of embeddings for tokens, a perceptron for other inputs."""
    classes = len(domain.classes)
    if isinstance(domain, ImageDomain):
        return _convolutions(domain.channels, domain.size, classes)
    if isinstance(domain, TextDomain | CodeDomain):
        return _BagOfTokens(domain.size, classes)
    first = nn.Linear(math.prod(domain.shape), 256)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, classes))


def _convolutions(channels: int, size: tuple[int, int], classes: int) -> nn.Module:
    """Halves the sides until both are at most 8, then classifies the flattened map."""
    (height, width), wide = size, 32
    layers: list[nn.Module] = [nn.Conv2d(channels, wide, 3, padding=1), nn.GroupNorm(8, wide), nn.ReLU()]
    while max(height, width) > 8:
        height, width, more = -(-height // 2), -(-width // 2), min(2 * wide, 256)
        layers += [nn.Conv2d(wide, more, 3, stride=2, padding=1), nn.GroupNorm(8, more), nn.ReLU()]
        wide = more
    layers += [nn.Conv2d(wide, wide, 3, padding=1), nn.GroupNorm(8, wide), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(wide * height * width, classes))


class _BagOfTokens(nn.Module):
    """Classifies the mean embedding of all known tokens, in any order."""

    def __init__(self, size: int, classes: int, width: int = 128) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(size, width, mode="mean", padding_idx=0)
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.bag(x.masked_fill(x == UNKNOWN, 0)))


def _batches(
    data: "DataModule | tuple[Tensor, Tensor]", epoch: int, size: int, draw: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets of one epoch, in random order."""
    if isinstance(data, tuple | list):
        yield from ((data[0][rows], data[1][rows]) for rows in torch.randperm(len(data[0]), generator=draw).split(size))
        return
    loader = data.train_dataloader()
    if callable(set_epoch := getattr(loader.sampler, "set_epoch", None)):
        set_epoch(epoch)
    yield from ((batch["input"], batch["target"]) for batch in loader)
