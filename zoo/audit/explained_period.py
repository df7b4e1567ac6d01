"""The explanations of one period, read from the explanations.jsonl of `train.py explain`."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo.utils.paths import check_file

LONGEST = 2**24  # bytes of a line
SAME = ("checkpoint", "target", "versus", "reference", "set", "top")  # options without which two periods differ


@dataclass(frozen=True)
class Period:
    """How a model used its units in one period.

    Attributes:
        path: of the file.
        options: that determined the explanations; "checkpoint" is the hash of the model.
        count: number of explanations.
        answers: how often each class was explained.
        scores: (N,) of the explained classes.
        usage: by name of each unit, the contributions that explanations list; 0 in all others.
    """

    path: Path
    options: Mapping[str, str]
    count: int
    answers: Mapping[str, int]
    scores: np.ndarray
    usage: Mapping[str, list[float]]

    def values(self, unit: str) -> np.ndarray:
        """(N,) what a unit contributed to each explanation; 0 where it is not among the units that are listed."""
        listed = self.usage.get(unit, [])
        return np.concatenate([np.asarray(listed, dtype=np.float64), np.zeros(self.count - len(listed))])


def read_period(path: Path, target: str | None = None) -> Period:
    """Reads an explanations.jsonl.

    Args:
        path: of the file.
        target: only explanations of this class.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not an explanation, or they have other options; names the line.
    """
    check_file(path, "explanations.jsonl")
    options: dict[str, str] | None = None
    usage: dict[str, list[float]] = {}
    answers: Counter[str] = Counter()
    scores: list[float] = []
    with path.open("rb") as opened:
        for number, line in enumerate(iter(lambda: opened.readline(LONGEST), b""), 1):
            row = _row(line, f"{path} line {number}")
            options = row["options"] if options is None else options
            if row["options"] != options:
                raise ValueError(
                    f"{path} line {number} has other options than the first; explain all inputs with the same."
                )
            if target is not None and row["target"] != target:
                continue
            answers[row["target"]] += 1
            scores.append(float(row["score"]))
            for term in row["evidence"]:
                usage.setdefault(term["unit"], []).append(float(term.get("contribution", term["activation"])))
    if not scores or options is None:
        of = "" if target is None else f" of '{target}'"
        raise ValueError(f"{path} has no explanations{of}.")
    return Period(path, options, len(scores), answers, np.asarray(scores), usage)


def _row(line: bytes, where: str) -> dict[str, Any]:
    """One line, checked.

    Raises:
        ValueError: it is not an explanation.
    """
    try:
        row = json.loads(line, parse_constant=_refuse)
        units = [(str(term["unit"]), float(term.get("contribution", term["activation"]))) for term in row["evidence"]]
        known = isinstance(row["options"], dict) and isinstance(row["target"], str) and float(row["score"]) is not None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{where} is not an explanation ({type(error).__name__}: {error!s:.60}); give the explanations.jsonl of "
            "`train.py explain`."
        ) from None
    if not known or len({unit for unit, _ in units}) < len(units):
        raise ValueError(f"{where} is not an explanation: its options are missing, or a unit occurs twice.")
    return row


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def require_same_question(old: Period, new: Period) -> None:
    """Refuses periods of other models or options.

    Raises:
        ValueError: they differ; the message names the options.
    """
    if old.options.get("checkpoint") != new.options.get("checkpoint"):
        raise ValueError(
            f"{old.path} and {new.path} are of different models, so their units are not the same; compare the models "
            "with `train.py diff`."
        )
    if wrong := [name for name in SAME if old.options.get(name) != new.options.get(name)]:
        pairs = ", ".join(f"{name}: {old.options.get(name)} and {new.options.get(name)}" for name in wrong)
        raise ValueError(f"{old.path} and {new.path} were explained with other options ({pairs}); use the same.")
