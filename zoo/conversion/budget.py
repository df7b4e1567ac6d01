"""The smallest explanation within a loss of accuracy, or of R²: some sizes are tried on validation data."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zoo.conversion.assess import compare
from zoo.core.module import SelfInterpretable
from zoo.data.base.images import ImageData
from zoo.data.base.module import DataModule
from zoo.data.base.text import TextData
from zoo.networks.base import Features
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.training.black_box_file import Network
from zoo.training.cached_features import VIEWS, CachedFeatures
from zoo.training.fit import fit, has_validation
from zoo.training.staged_module import StagedModule


class Trial(NamedTuple):
    """One size that was tried.

    Attributes:
        size: of the explanation.
        quality: accuracy or R² on validation data, of the units alone, without a residual.
        black_box: that of the black box on the same data.
        features_r2: variance of the features that the code explains, if there is one.
    """

    size: int
    quality: float
    black_box: float
    features_r2: float | None


class Search(NamedTuple):
    """The result of a search.

    Attributes:
        chosen: size.
        within: whether it is within the budget; if none is, the best size that was tried is chosen.
        budget: accuracy or R² that may be lost.
        trials: by size.
    """

    chosen: int
    within: bool
    budget: float
    trials: list[Trial]


def search(sizes: Sequence[int], budget: float, attempt: Callable[[int], Trial]) -> Search:
    """Finds the smallest size within a budget by bisection, which takes the quality to rise with size.

    Quality can also fall with size, as more weights can learn the training set by heart; then a smaller size than the
    one found can be within the budget, and where none was found, the best of those that were tried is taken.

    Args:
        sizes: in ascending order.
        budget: accuracy or R² that may be lost.
        attempt: trains a model of a size.
    """
    tried: dict[int, Trial] = {}

    def fits(place: int) -> bool:
        size = sizes[place]
        if size not in tried:
            tried[size] = attempt(size)
            found = tried[size]
            print(
                f"size {size}: {found.quality:.1%} by the units alone, {found.black_box:.1%} by the black box, on "
                "validation data"
            )
        return tried[size].quality >= tried[size].black_box - budget - 1e-9

    low, high = 0, len(sizes) - 1  # the answer, if there is one, is within
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    within, trials = fits(low), [tried[size] for size in sorted(tried)]
    chosen = sizes[low] if within else max(trials, key=lambda trial: trial.quality).size
    return Search(chosen, within, budget, trials)


class Attempts:
    """Trains models of several sizes, on features that are computed once where that is possible.

    Args:
        build: an untrained model of a size.
        data: to train and validate on.
        network: the black box.
        options: of `zoo.training.fit.fit`.

    Raises:
        ValueError: there are no validation data.
    """

    def __init__(
        self,
        build: Callable[[int], StagedModule],
        data: DataModule,
        network: Network,
        **options: Any,
    ) -> None:
        data.prepare_data()
        if not has_validation(data):
            raise ValueError("a budget is kept on validation data, and there are none; leave the budget out.")
        self.build, self.data, self.network, self.options = build, data, network, options
        self.fitted: Any = None

    def __call__(self, size: int) -> Trial:
        """Trains and validates a model of a size."""
        model = self.build(size)
        assert isinstance(model, SelfInterpretable)  # what the table of targets names
        self.fitted = self.fitted or cached(self.data, model)
        fit(model, self.fitted, **self.options)
        found = compare(model, self.network, batches_of(self.fitted))
        black_box = found.quality("black box") or 0.0
        return Trial(size, found.own_quality, black_box, found.features_r2)


def batches_of(fitted: Any) -> Iterator[Any]:
    """Validation batches, whose inputs are marked as features if they are."""
    for batch in fitted.val_dataloader():
        marked = isinstance(fitted, CachedFeatures)
        yield {**batch, "input": batch["input"].as_subclass(Features)} if marked else batch


def cached(data: DataModule, model: StagedModule) -> Any:
    """The data with the features of the model's frozen backbone in place of inputs, where that is possible."""
    fits = can_cache(data, getattr(model, "backbone", None))
    return CachedFeatures(data, model, Path(tempfile.gettempdir())) if fits else data


def can_cache(data: DataModule, backbone: object) -> bool:
    """Whether features of all views of the inputs can be kept."""
    if isinstance(data, TextData):
        return isinstance(backbone, HuggingFaceText)
    return isinstance(data, ImageData) and (data.augment in VIEWS or data.views == 2)
