"""What a model answers to the inputs of a request: scores, explanations as JSON, or a page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo.core.asking import MOST_CLASSES
from zoo.core.curves import Curve, HasCurves
from zoo.core.explanation import Explanation
from zoo.core.explanation_dict import answer_of
from zoo.domain import Domain
from zoo.domain.inputs import Reading
from zoo.serving.inputs import Named
from zoo.utils.json_text import to_json
from zoo.views.html import page

MODES = ("predict", "explain", "page")
Explain = Callable[[Sequence[Reading], int | None, bool, bool], Explanation]


@dataclass(frozen=True)
class Kind:
    """What is asked; requests of one kind share a pass of the model.

    Attributes:
        mode: one of `MODES`; a page needs more terms than an explanation.
        target: the class to explain; None for the predicted one.
    """

    mode: str
    target: int | None = None


class Answering(Protocol):
    """What a service needs of a model: one of the zoo, or an exported one."""

    space: str
    additive: bool

    @property
    def domain(self) -> Domain:
        """What inputs and outputs mean."""
        ...

    @property
    def device(self) -> torch.device:
        """Where inputs must be."""
        ...

    def __call__(self, x: Tensor, /) -> Tensor: ...


class Service:
    """Answers of one model.

    Args:
        model: ready to explain.
        checkpoint: how answers name it.
        explain: the explanation of readings for a target, with the contributions to every class if so asked, and a
            search for what would change the answers if so asked.
        top: number of units in an explanation.
        locale: language of the sentences.
        kind: how clients are told what it is; by default the name of its class.
    """

    def __init__(
        self, model: Answering, checkpoint: str, explain: Explain, top: int, locale: str, kind: str | None = None
    ) -> None:
        self.model, self.checkpoint, self.explain, self.top, self.locale = model, checkpoint, explain, top, locale
        self.kind = kind or type(model).__name__
        self.curves: tuple[Curve, ...] = tuple(model.curves()) if isinstance(model, HasCurves) else ()
        self.every_class = model.additive and len(model.domain.classes) <= MOST_CLASSES

    def run(self, kind: Kind, readings: Sequence[Reading]) -> Tensor | Explanation:
        """One pass of the model: scores (B, C), or explanations.

        Raises:
            ValueError, TypeError, RuntimeError, ArithmeticError: see `zoo.core.asking.ask`.
        """
        if kind.mode != "predict":
            paged = kind.mode == "page"
            return self.explain(readings, kind.target, paged and self.every_class, paged)
        with torch.no_grad():
            scores = self.model(torch.stack([reading.x for reading in readings]).to(self.model.device))
        return scores.float().cpu()

    def warm(self) -> None:
        """Explains and predicts random inputs, so that the first request does not wait for what is loaded lazily."""
        generator = torch.Generator().manual_seed(0)
        readings = [Reading(x, "", ()) for x in self.model.domain.example(2, generator)]
        for mode in ("predict", "explain"):
            self.run(Kind(mode), readings)

    def predictions(self, named: Sequence[Named], scores: Tensor) -> list[dict[str, Any]]:
        """The scores (B, C) of inputs, and probabilities where scores have them.

        Raises:
            ArithmeticError: scores are not finite.
        """
        if not bool(scores.isfinite().all()):
            raise ArithmeticError("the scores are not finite; look for extreme values in the input.")
        domain, space = self.model.domain, self.model.space
        shares = domain.probabilities(scores, space)
        found = []
        for i, one in enumerate(named):
            told: dict[str, Any] = {"input": one.input, "checkpoint": self.checkpoint, "title": one.title}
            if domain.task == "classification":
                told["answer"] = domain.classes[int(scores[i].argmax())]
            elif domain.task == "multilabel":
                told["answer"] = [domain.classes[c] for c in (scores[i] > 0).nonzero()[:, 0].tolist()]
            told |= {"space": space, "scores": self._by_class(scores[i])}
            if shares is not None:
                told["probabilities"] = self._by_class(shares[i])
            if one.reading.warnings:
                told["warnings"] = list(one.reading.warnings)
            found.append(told)
        return found

    def _by_class(self, values: Tensor) -> dict[str, float]:
        return dict(zip(self.model.domain.classes, values.tolist(), strict=True))

    def lines(self, named: Sequence[Named], told: Explanation, top: int | None = None) -> list[dict[str, Any]]:
        """Explanations as in explanations.jsonl.

        Raises:
            ValueError: a number is not finite.
        """
        found = []
        rows = told.to_dict(self.top if top is None else top)
        for name, one, row in zip(named, told, rows, strict=True):
            about = {"input": name.input, "checkpoint": self.checkpoint, "title": name.title, "answer": answer_of(one)}
            found.append(about | {"sentence": one.sentence(self.locale)} | row)
            to_json(found[-1])  # raises for numbers that JSON does not have
        return found

    def page(self, named: Sequence[Named], told: Explanation, top: int | None = None) -> str:
        """The page that `explain` writes, of all inputs."""
        titles = [one.title for one in named]
        return page(told, titles, top=self.top if top is None else top, curves=self.curves, locale=self.locale)

    def about(self) -> Mapping[str, Any]:
        """What the model is and reads, for clients."""
        domain = self.model.domain
        return {
            "checkpoint": self.checkpoint,
            "model": self.kind,
            "reads": domain.noun,
            "endings": sorted(domain.endings),
            "texts": domain.quoted,
            "task": domain.task,
            "classes": list(domain.classes),
        }
