"""Files of concept scores: a matrix (N, M) of N items and M concepts, with their names."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zoo.training.projection_set import ProjectionSet
from zoo.utils.errors import did_you_mean, outside_checkpoint


def save_scores(path: str | Path, scores: Tensor, concepts: list[str], items: list[str]) -> None:
    """Writes a score file, which `read_scores` reads.

    Args:
        path: file to write.
        scores: (N, M).
        concepts: names of the M concepts.
        items: names of the N items.

    Raises:
        ValueError: the scores have another shape.
    """
    if scores.shape != (len(items), len(concepts)):
        raise ValueError(
            f"scores must be (items, concepts) = {(len(items), len(concepts))}; got {tuple(scores.shape)}."
        )
    about = {"concepts": json.dumps(concepts), "items": json.dumps(items)}
    save_file({"scores": scores.float().contiguous()}, str(path), about)


def read_scores(path: str | Path) -> tuple[Tensor, list[str], list[str]]:
    """Reads a score file: scores (N, M), names of the concepts, names of the items.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file does not hold concept scores.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no concept scores at {path}; create them with `train.py score-concepts`.")
    try:
        with safe_open(str(path), framework="pt") as opened:
            about = opened.metadata() or {}
            if "concepts" not in about or "items" not in about:
                raise ValueError(f"{path} holds no concept scores; create them with `train.py score-concepts`.")
            return opened.get_tensor("scores"), json.loads(about["concepts"]), json.loads(about["items"])
    except SafetensorError as error:
        raise ValueError(f"{path} is not an intact safetensors file ({error}).") from error


def refuse_scores(arguments: Mapping[str, Any], name: str) -> None:
    """Refuses arguments of a checkpoint that name a score file without the concepts that were read from it.

    Args:
        arguments: of the model.
        name: of the argument that may name a file.

    Raises:
        ValueError: the model cannot be built without that file.
    """
    source = arguments.get(name, "annotations")
    if source not in ("annotations", "random") and not arguments.get("concepts"):
        raise outside_checkpoint(name, source)


def align(scores: Tensor, items: list[str], projection_set: ProjectionSet, path: str | Path) -> Tensor:
    """Rows of scores in the order of the projection set, matched by the names of the items.

    Args:
        scores: (N, M).
        items: names of the N items.
        projection_set: the training set.
        path: of the score file, for the error message.

    Raises:
        ValueError: an item of the projection set has no row.
    """
    row = {name: i for i, name in enumerate(items)}
    names = [projection_set.name(i) for i in range(len(projection_set))]
    missing = [name for name in names if name not in row]
    if missing:
        raise ValueError(
            f"{path} has no scores for {len(missing)} of {len(names)} training items (first: {missing[0]})."
        )
    return scores[[row[name] for name in names]]


def columns_of(wanted: Sequence[str], found: Sequence[str], where: str | Path) -> list[int]:
    """Columns of the wanted concepts among the concepts found `where`.

    Raises:
        ValueError: a concept is missing.
    """
    if missing := [name for name in wanted if name not in found]:
        near = did_you_mean(missing[0], found)
        raise ValueError(f"{where} has no scores of the concepts {', '.join(missing[:5])}; {near}")
    return [found.index(name) for name in wanted]
