"""Explainable boosting machines of InterpretML as models of the zoo, with equal scores.

Nori, Jenkins, Koch, Caruana: "InterpretML: A Unified Framework for Machine Learning Interpretability", 2019,
arXiv 1909.09223.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.additive.ga2m import GA2M
from zoo.domain import Column, TableDomain

Cuts = list[float] | dict[str, int]  # of numbers, edges between bins; of categories, the bin of each level


def from_ebm(ebm: Any, target: str = "value") -> GA2M:
    """Builds a GA2M with the tables of a fitted EBM.

    Its scores are those of the EBM: of two classes, their difference is `decision_function`; of values, `predict`.
    Empty cells are missing values, as in the EBM; levels that the EBM does not know have its term for unknown ones.

    Args:
        ebm: a fitted `ExplainableBoostingClassifier` or `ExplainableBoostingRegressor`.
        target: name of the value that a regressor predicts.

    Raises:
        ValueError: it is not fitted, has terms of three features, or another link than identity or (multi)logit.
    """
    if not hasattr(ebm, "term_scores_"):
        raise ValueError(f"the {type(ebm).__name__} is not fitted; call fit first.")
    if ebm.link_ not in ("identity", "logit", "mlogit"):
        raise ValueError(f"the link of the EBM must be identity, logit or mlogit; got '{ebm.link_}'.")
    if wide := [features for features in ebm.term_features_ if len(features) > 2]:
        raise ValueError(f"terms of one or two features can be read; the EBM has one of {len(wide[0])}.")
    columns = [_column(str(name), bins[0]) for name, bins in zip(ebm.feature_names_in_, ebm.bins_, strict=True)]
    classes = [str(c) for c in ebm.classes_] if hasattr(ebm, "classes_") else [target]
    task = "classification" if hasattr(ebm, "classes_") else "regression"
    domain = TableDomain(classes=tuple(classes), columns=tuple(columns), task=task)
    edges = [sorted({e for cuts in bins if not isinstance(cuts, Mapping) for e in cuts}) for bins in ebm.bins_]
    pairs = [features for features in ebm.term_features_ if len(features) == 2]
    coarse = [len(cuts) + 1 for bins in ebm.bins_ for cuts in bins[1:] if not isinstance(cuts, Mapping)]
    model = GA2M(domain, pairs=len(pairs), bins=max(2, *(len(e) + 1 for e in edges)), pair_bins=max(2, *coarse, 2))
    _fill(model, ebm, edges)
    return model.eval()


def _column(name: str, cuts: Any) -> Column:
    if not isinstance(cuts, Mapping):
        return Column(name=name, missing=("",))
    return Column(name=name, kind="category", levels=tuple(sorted(map(str, cuts))), missing=("",))


def _fill(model: GA2M, ebm: Any, edges: Sequence[list[float]]) -> None:
    """Copies edges, tables, standard errors, densities and the intercept."""
    effects = model.effects
    for k, found in enumerate(edges):
        effects.bins.edges[k, : len(found)] = torch.tensor(found)
    model.intercept.data.copy_(torch.as_tensor(ebm.intercept_).view(-1))
    used = 0
    terms = zip(ebm.term_features_, ebm.term_scores_, ebm.standard_deviations_, ebm.bin_weights_, strict=True)
    for features, scores, errors, weights in terms:
        tables = [torch.as_tensor(t).float() for t in (scores, errors, weights)]
        table, error, weight = (t[..., None] if t.ndim == len(features) else t for t in tables)
        if len(features) == 1:
            (k,) = features
            rows = _rows(ebm.bins_[k][0], edges[k], model.effects.bins.columns[k])
            effects.mains[k, : len(rows)], effects.errors[k, : len(rows)] = table[rows], error[rows]
            spread = torch.bincount(rows, minlength=len(weight)).clamp_min(1)[rows]  # bins of the union share a bin
            effects.density[k, : len(rows)] = weight[rows, 0] / spread / weight.sum()
        else:
            sides = [ebm.bins_[k][min(1, len(ebm.bins_[k]) - 1)] for k in features]
            rows = [_rows(c, c, model.effects.bins.columns[k]) for c, k in zip(sides, features, strict=True)]
            place = (used, slice(len(rows[0])), slice(len(rows[1])))
            effects.pairs[place] = table[rows[0]][:, rows[1]]
            effects.pair_errors[place] = error[rows[0]][:, rows[1]].to(effects.pair_errors)
            effects.pair_density[place] = (weight[rows[0]][:, rows[1]] / weight.sum())[..., 0]
            effects.columns[used] = torch.tensor(features)
            used += 1
    for k, bins in enumerate(ebm.bins_):
        merged = _merged(bins[min(1, len(bins) - 1)], edges[k], model.effects.bins.columns[k])
        effects.merged[k, : len(merged)] = merged.to(effects.merged)


def _rows(cuts: Cuts, edges: Any, column: Column) -> Tensor:
    """For each of our bins the bin of the EBM, whose first is for missing and last for unknown values."""
    if isinstance(cuts, Mapping):
        known = {str(level): place for level, place in cuts.items()}
        return torch.tensor([max(known.values()) + 1, *(known[level] for level in column.levels), 0])
    inner = torch.tensor([-torch.inf, *edges], dtype=torch.double)  # the lower end of each of our bins
    places = torch.searchsorted(torch.tensor(list(cuts), dtype=torch.double), inner, right=True)
    return torch.cat([places + 1, torch.zeros(1, dtype=torch.long)])


def _merged(cuts: Cuts, edges: list[float], column: Column) -> Tensor:
    """For each of our bins its bin in pairs."""
    if isinstance(cuts, Mapping):
        return torch.arange(len(column.levels) + 2)
    inner = torch.tensor([-torch.inf, *edges], dtype=torch.double)
    small = torch.searchsorted(torch.tensor(list(cuts), dtype=torch.double), inner, right=True)
    return torch.cat([small, torch.tensor([len(cuts) + 1])])
