"""The action `sparsify` of a recipe, for any model whose head is one linear layer over its units."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from zoo.networks.sparse_support import RIDGE, sparsest
from zoo.training.batch import as_batch
from zoo.training.modes import evaluating
from zoo.training.projection_set import ProjectionSet
from zoo.training.stages import Stage
from zoo.utils.atomic import write_text

COUNTS = (1, 2, 3, 5, 8, 10, 15, 20)  # weights a class whose accuracy is reported
FILE = "sparsity.json"  # in the folder of the run


def run_on(model: Any, stage: Stage, projection_set: ProjectionSet) -> None:
    """Runs the action of a stage: the one here if it has `per_class`, else the model's own method of that name."""
    if stage.per_class:
        sparsify_head(model, stage, projection_set)
    else:
        getattr(model, stage.name)(projection_set)


@torch.no_grad()
def sparsify_head(model: Any, stage: Stage, projection_set: ProjectionSet) -> None:
    """Leaves each class at most `stage.per_class` weights, chosen on an elastic-net path, and fits them anew.

    Activations of the unaugmented training data are computed once. The accuracy on the validation data for other
    numbers of weights is printed and written to sparsity.json in the folder of the run. A model whose many activations
    tell its training set apart by heart has the attribute `sparse_ridge`, which holds the kept weights back.

    Args:
        model: that trains; its head is replaced.
        stage: with `per_class` and `non_negative`.
        projection_set: of the training data.

    Raises:
        ValueError: the task is not classification, or the scores are not the head applied to the activations.
    """
    with evaluating(model):
        check_head(model)
        activations, target = _collect(model, projection_set, projection_set.gather)
        trainer = model._trainer  # None outside of a fit
        held = None if trainer is None else _validation(model, trainer)
    counts = sorted({*(k for k in COUNTS if k <= activations.shape[1]), min(stage.per_class, activations.shape[1])})
    classes, biased = len(model.domain.classes), model.head.bias is not None
    found = sparsest(
        activations,
        target,
        classes,
        counts,
        non_negative=stage.non_negative,
        bias=biased,
        ridge=getattr(model, "sparse_ridge", RIDGE),
        title=projection_set.title,
    )
    report: dict[str, Any] = {}
    for k, solution in found.items():
        report[str(k)] = {"weights": int((solution.weight != 0).sum())}
        if held is not None:
            right = (held[0] @ solution.weight.T + solution.bias).argmax(1) == held[1]
            report[str(k)]["validation accuracy"] = right.float().mean().item()
    chosen = found[min(stage.per_class, activations.shape[1])]
    model.head.weight.copy_(chosen.weight)
    if biased:
        model.head.bias.copy_(chosen.bias)
    shown = ", ".join(f"{k}: {one.get('validation accuracy', float('nan')):.1%}" for k, one in report.items())
    rank_zero_info(f"sparsify: validation accuracy by weights a class: {shown}; kept {stage.per_class}.")
    folder = None if trainer is None else getattr(trainer.logger, "save_dir", None)
    if trainer is not None and folder is not None and trainer.is_global_zero:
        write_text(Path(folder) / FILE, json.dumps(report, indent=1) + "\n")


def check_head(model: Any) -> None:
    """Refuses a model whose head cannot be sparsified.

    Raises:
        ValueError: see `sparsify_head`.
    """
    name = type(model).__name__
    if model.domain.task != "classification" or not isinstance(getattr(model, "head", None), nn.Linear):
        raise ValueError(f"sparsify with per_class needs a classifier with a linear layer `head`; {name} has none.")
    x = model.domain.example(2, torch.Generator().manual_seed(0)).to(model.device)
    scores, evidence = model.step(x)
    activation = evidence.activation
    fits = activation.shape[1] == model.head.in_features
    if not fits or not torch.allclose(model.head(activation), scores, rtol=1e-3, atol=1e-3):
        raise ValueError(
            f"sparsify with per_class needs scores that are the linear layer `head` on the activations; {name} has "
            "others. Leave the stage out."
        )


def check_sparse_stages(stages: Iterable[Stage]) -> None:
    """Refuses a recipe that trains the head again after it was made sparse, which would fill it.

    Raises:
        ValueError: names both stages.
    """
    sparse: Stage | None = None
    for stage in stages:
        if stage.per_class:
            sparse = stage
        elif sparse is not None and "head" in stage.trained:
            raise ValueError(
                f"stage '{stage.name}' trains the head after '{sparse.name}' made it sparse, which fills it again; end "
                "with {name: measure, epochs: 1, train: []}."
            )


def _collect(model: Any, batches: Iterable[Any], gather: Any) -> tuple[Tensor, Tensor]:
    """Activations (N, K) and targets (N,)."""
    rows: list[tuple[Tensor, Tensor]] = []
    for item in batches:
        batch = as_batch(item)
        rows.append((model.step(batch["input"])[1].activation, batch["target"]))
    activations, targets = (torch.cat(part) for part in zip(*rows, strict=True))
    return gather(activations), gather(targets)


def _validation(model: Any, trainer: Trainer) -> tuple[Tensor, Tensor] | None:
    """Activations and targets of the validation data of this process; None without any."""
    loaders: Any = trainer.val_dataloaders
    if loaders is None:
        return None
    loader = loaders[0] if isinstance(loaders, list) else loaders
    with torch.random.fork_rng(devices=[]):
        return _collect(model, (trainer.strategy.batch_to_device(item) for item in loader), lambda rows: rows)
