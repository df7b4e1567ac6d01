"""Explanations of many inputs, of which any may be at fault: that one is left out with the reason, the others stay."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch

from zoo.core.asking import ask
from zoo.core.explanation import Explanation
from zoo.core.module import SelfInterpretable
from zoo.core.regions import require_regions
from zoo.core.unit_names import UnitNames
from zoo.domain.inputs import Input, Reading, read_input
from zoo.utils.errors import ContractError

EXTREME = 1e4  # standard deviations, above which a normalised value is named as a likely cause
EXPECTED = (OSError, ValueError, ArithmeticError)  # errors whose message is enough, without their type
T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """Why an input has no explanation."""

    input: Input
    reason: str


@dataclass(frozen=True)
class Question:
    """What is asked about each input.

    Attributes:
        model: gives the answers.
        target: the class to explain; None for the predicted one.
        versus: the class to compare it with; None for none.
        settings: options of the explanation.
        reference: what contributions are relative to; None for the model's own.
        remark: gives a text for each row of an explanation, which follows its statement; None for none.
        names: of units by attributes; None for their own.
        regions: into which units are joined, see `Explanation.in_regions`; None for the units of the model.

    Raises:
        RuntimeError: the model is not ready.
        ValueError: the model does not have such an option.
    """

    model: SelfInterpretable
    target: int | None = None
    versus: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    reference: str | None = None
    remark: Callable[[Explanation], Sequence[str]] | None = None
    names: UnitNames | None = None
    regions: int | None = None

    def __post_init__(self) -> None:
        self.model.require_ready()
        self.model.check_options(**self.settings)
        if self.regions is not None:
            require_regions(self.model.domain, self.regions)
            if not self.model.additive:
                raise ValueError(f"--regions requires an additive model; {type(self.model).__name__} is not additive.")

    def explain(self, readings: Sequence[Reading], every_class: bool, search: bool = False) -> Explanation:
        """The explanation of a batch.

        Args:
            readings: the inputs.
            every_class: also the contributions to every class.
            search: also search what would change the answers, if the terms do not say it.
        """
        x = torch.stack([reading.x for reading in readings])
        search = search and self.regions is None
        told = ask(self.model, x, self.target, self.versus, self.reference, self.settings, every_class, search)
        if self.regions is not None:
            told = told.in_regions(self.regions)
        if self.remark is not None:
            said = told.statements or ("",) * len(told)
            told = replace(told, statements=tuple(map(join, said, self.remark(told))))
        if self.names is not None:
            told = self.names.of(told)
        texts = tuple(reading.text for reading in readings)
        return replace(told, texts=texts, warnings=tuple(reading.warnings for reading in readings))

    def answers(
        self, inputs: Sequence[Input], every_class: bool, search: bool = False
    ) -> Iterator[tuple[Input, Explanation] | Fault]:
        """The explanation of each input, or its fault.

        All are explained as one batch. If that fails, each is explained by itself, to find those at fault.
        """
        readings: list[tuple[Input, Reading]] = []
        for file in inputs:
            found = guarded(file, lambda file=file: read_input(file, self.model.domain))
            if isinstance(found, Fault):
                yield found
            else:
                readings.append((file, found))
        if readings:
            yield from self._explained(readings, every_class, search)

    def _explained(
        self, readings: Sequence[tuple[Input, Reading]], every_class: bool, search: bool
    ) -> Iterator[tuple[Input, Explanation] | Fault]:
        first, reading = readings[0]
        told = guarded(first, lambda: self.explain([reading for _, reading in readings], every_class, search))
        if isinstance(told, Explanation):
            yield from zip((file for file, _ in readings), told, strict=True)
        elif len(readings) == 1:
            yield Fault(first, told.reason + _extreme(reading))
        else:
            for one in readings:
                yield from self._explained([one], every_class, search)


def join(statement: str, remark: str) -> str:
    """A statement, with a full stop, and a remark."""
    stop = "." if statement and remark and statement[-1] not in ".!?" else ""
    return f"{statement}{stop} {remark}".strip()


def guarded(file: Input, work: Callable[[], T]) -> T | Fault:
    """What `work` returns, or the fault of the input if it fails; a mistake in a model's own code is raised."""
    try:
        return work()
    except (ContractError, ImportError):  # a library that is missing is so for every input
        raise
    except Exception as error:  # whatever is wrong with one input, the others are explained
        kind = "" if isinstance(error, EXPECTED) else f"{type(error).__name__}: "
        reason = f"{kind}{error}" if str(error) else type(error).__name__
        return Fault(file, reason if str(file) in reason else f"{file}: {reason}")


def _extreme(reading: Reading) -> str:
    """A sentence about the largest value of an input that a model could not explain, if that is a likely cause."""
    if not reading.x.is_floating_point() or float(largest := reading.x.abs().max()) < EXTREME:
        return ""
    return f" Its largest value is {float(largest):.3g} standard deviations from the mean of the training data."
