"""What a dictionary takes from the features before it is trained: their mean and scale, and archetypes."""

from collections.abc import Callable, Iterable

from torch import Tensor

from zoo.concepts.layers.dictionary_files import rebase
from zoo.concepts.layers.projection import moments
from zoo.concepts.layers.row_sample import Sample
from zoo.concepts.layers.sparse_codes import Dictionary


def measure(
    dictionary: Dictionary, features: Iterable[Tensor], sum_over_ranks: Callable[[Tensor], Tensor] = lambda total: total
) -> None:
    """Sets mean, scale and archetypes in one pass; a dictionary of a file codes the same as before.

    Args:
        dictionary: is changed.
        features: batches (N, d) of the training features of this rank.
        sum_over_ranks: of a tensor, such as `zoo.training.projection_set.ProjectionSet.total`.

    Raises:
        ValueError: there are no features, or fewer than archetypes.
    """
    sample = Sample(dictionary.wanted_rows)
    mean, scale = (t.to(dictionary.mean.device) for t in moments(sample.watch(features), sum_over_ranks))
    place = rebase if dictionary.options.source else Dictionary.centre
    place(dictionary, mean, scale)
    if dictionary.wanted_rows:
        dictionary.start(sample.rows.to(mean.device))
