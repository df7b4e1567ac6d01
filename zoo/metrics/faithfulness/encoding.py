"""M10: does the evidence carry the label by what it shows, or by where it is?"""

import math
from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from zoo.domain import Domain
from zoo.metrics.faithfulness.base import FaithfulnessMetric, covering
from zoo.metrics.faithfulness.elements import TOKENS, cells_of, element_shape, over_input
from zoo.metrics.faithfulness.subject import Case
from zoo.metrics.faithfulness.sufficiency import elsewhere

if TYPE_CHECKING:
    from zoo.data.base.module import DataModule

UNKNOWN = 1  # the token that stands for removed ones


class EncodingGap(FaithfulnessMetric):
    """What the model is right about, less what a second network sees in the model's evidence alone.

        gap                      accuracy of the model - accuracy of the evaluator on the evidence
        evaluator on evidence    accuracy of the evaluator where all but the evidence is removed
        evaluator elsewhere      the same for the evidence moved elsewhere by a random shift: equal area and shape
        evaluator on everything  its accuracy on the whole input: the ceiling
        model                    accuracy of the model

    The evidence is the fewest elements that hold nine tenths of the positive contributions laid out over the input. The
    evaluator has learned on random masks, so the place of a mask tells it nothing: evidence that tells the label by its
    place alone (a selector can learn this) leaves a wide gap. 0 is ideal. Read it beside the ceiling, as a weak
    evaluator leaves a gap as well. Samples without evidence have no value. After Jethani et al.: "Have We Learned to
    Explain?", AISTATS 2021, arXiv 2103.01890, section 4 (EVAL-X).

    Args:
        evaluator: what `train_evaluator` returned for the same data; one serves all models.
        moved: how many shifts to compare with.
        seed: of the shifts.
    """

    key, title = "M10", "encoding gap"
    names = ("gap", "evaluator on evidence", "evaluator elsewhere", "evaluator on everything", "model")
    directions, chances, ideals = (-1, 1, 0, 0, 0), (None,) * 5, (0.0, None, None, None, None)
    needs = ("support", "classes")

    def __init__(self, evaluator: "Evaluator | None", moved: int = 2, seed: int = 0) -> None:
        super().__init__()
        self.evaluator, self.moved, self.seed = evaluator, moved, seed

    def lacking(self) -> str | None:
        """Why it cannot be measured, if so."""
        return None if self.evaluator is not None else "needs an evaluator; name M10 itself to have one trained"

    def measure(self, case: Case) -> Tensor:
        labels, evaluator = case.labels, self.evaluator
        if labels is None:
            raise ValueError(f"{self.title} needs the true classes, Case(labels=...).")
        if evaluator is None:
            raise ValueError(f"{self.title} {self.lacking()}.")
        evaluator.eval().to(case.x.device)
        right = lambda kept: (evaluator(case.x, kept).argmax(1) == labels).double()  # noqa: E731
        chosen = covering(case.evidence_map)
        with torch.no_grad():
            here, everything = right(chosen), right(case.present)
            away = sum(right(elsewhere(chosen, case, i, self.seed)) for i in range(self.moved)) / self.moved
        model = (case.explanation.scores.argmax(1) == labels).double()
        none = ~chosen.any(1, keepdim=True)
        return torch.stack([model - here, here, away, everything, model], 1).masked_fill(none, torch.nan)


class Evaluator(nn.Module):
    """A classifier of inputs of which only some elements are there; the others are blank, 0 or the unknown token."""

    def __init__(self, network: nn.Module, domain: Domain) -> None:
        super().__init__()
        self.network, self.domain = network, domain

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        """Scores (B, C) of inputs (B, *shape) of which elements kept (B, N) bool are there."""
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
    """Trains a network on inputs under random masks, whose share of kept elements is uniform in [0, 1].

    A network that is given, such as the black-box twin of the models to be measured, is copied; it should be able to do
    what these can. No random state outside is touched.

    Args:
        data: a data module, of which the training items are taken, or inputs (N, *shape) and targets (N,).
        domain: of the inputs; of a data module its own by default.
        network: from inputs (B, *shape) to scores (B, C); by default a small one that suits the modality.
        epochs: passes over the data.
        seed: of parameters, order and masks.
        progress: title of a bar, none if empty.
        batch_size: of inputs and targets; a data module has its own.
        lr: of Adam.
        device: to train on, and where the evaluator stays.

    Raises:
        ValueError: tensors without a domain, targets that are no classes, another number of targets than of inputs,
            or less than one epoch.
    """
    pair = isinstance(data, tuple | list)
    if domain is None:
        if pair:
            raise ValueError("an evaluator of tensors needs to know what they mean; give domain=..., such as data's.")
        domain = Domain.from_dict(data.domain)
    if domain.task != "classification":
        raise ValueError(f"an evaluator tells classes apart; these targets are of a {domain.task}.")
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
        trainer = getattr(network, "_trainer", None)  # is not copied
        own = small_network(domain) if network is None else deepcopy(network, {id(trainer): None})
        evaluator = Evaluator(own, domain).to(device).train()
        optimizer = torch.optim.Adam(evaluator.parameters(), lr=lr)
        for epoch in tqdm(range(epochs), progress, disable=not progress, leave=False):
            for x, target in _batches(data, epoch, batch_size, draw):
                scores = evaluator(x.to(device), random_kept(x, domain, draw).to(device))
                optimizer.zero_grad()
                F.cross_entropy(scores, target.to(device)).backward()
                optimizer.step()
    return evaluator.eval().requires_grad_(False)


def random_kept(x: Tensor, domain: Domain, draw: torch.Generator) -> Tensor:
    """(B, N) bool: which elements stay, in shares uniform in [0, 1].

    Single elements, or cells of a coarser grid of neighbours: one grid for the batch, from fine to two cells an axis.
    Features of tables have no neighbours.
    """
    shape = element_shape(domain)
    levels = 1 if domain.modality == "table" else max(int(math.log2(max(shape))), 1)
    level = int(torch.randint(levels, (), generator=draw))
    grid = tuple(max(size >> level, min(size, 2)) for size in shape)
    noise = torch.rand(len(x), math.prod(grid), generator=draw)[:, cells_of(grid, shape)]
    return noise < torch.rand(len(x), 1, generator=draw)


def small_network(domain: Domain) -> nn.Module:
    """Of images a convolutional network, of tokens a mean of embeddings, of other numbers a perceptron."""
    classes = len(domain.classes)
    if domain.modality == "image":
        return _convolutions(*domain.shape, classes)
    if domain.modality in TOKENS:
        return _BagOfTokens(domain.size, classes)
    first = nn.Linear(math.prod(domain.shape), 256)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, classes))


def _convolutions(channels: int, height: int, width: int, classes: int) -> nn.Module:
    """Halves the sides until they are 8 at most; the map that is left is read with its places."""
    layers, wide = [nn.Conv2d(channels, 32, 3, padding=1), nn.GroupNorm(8, 32), nn.ReLU()], 32
    while max(height, width) > 8:
        height, width, more = -(-height // 2), -(-width // 2), min(2 * wide, 256)
        layers += [nn.Conv2d(wide, more, 3, stride=2, padding=1), nn.GroupNorm(8, more), nn.ReLU()]
        wide = more
    layers += [nn.Conv2d(wide, wide, 3, padding=1), nn.GroupNorm(8, wide), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(wide * height * width, classes))


class _BagOfTokens(nn.Module):
    """The mean embedding of the tokens that are known, whatever their order."""

    def __init__(self, size: int, classes: int, width: int = 128) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(size, width, mode="mean", padding_idx=0)
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.bag(x.masked_fill(x == UNKNOWN, 0)))


def _batches(data: "DataModule | tuple[Tensor, Tensor]", epoch: int, size: int, draw: torch.Generator) -> Iterator:
    """Inputs and targets of one epoch, in random order."""
    if isinstance(data, tuple | list):
        yield from ((data[0][rows], data[1][rows]) for rows in torch.randperm(len(data[0]), generator=draw).split(size))
        return
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    yield from ((batch["input"], batch["target"]) for batch in loader)
