"""What interventions need of a data set, computed once: its evidence, its labels, and what an annotator answers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from zoo.core.evidence import Evidence
from zoo.training.batch import as_batch
from zoo.training.modes import evaluating

LEVELS = ("instance", "class")
INVISIBLE = ("label", "skip", "absent")


@dataclass(frozen=True, eq=False)
class Cached:
    """The evidence of N inputs and their labels: all that interventions need, so that no network runs again.

    Attributes:
        evidence: without supports.
        target: (N,) classes.
        concepts: (N, k) in {0, 1, NaN = not annotated}.
        visible: (N, k), which concepts the annotators could see; None if the data does not tell.
    """

    evidence: Evidence
    target: Tensor
    concepts: Tensor
    visible: Tensor | None = None

    def __len__(self) -> int:
        return len(self.target)

    def part(self, rows: slice, device: torch.device | str) -> "Cached":
        """Some of the rows, on a device."""
        pick = lambda t: t[rows].to(device, non_blocking=True)  # noqa: E731
        state = {name: pick(tensor) for name, tensor in self.evidence.state.items()}
        evidence = Evidence(pick(self.evidence.activation), state=state)
        return Cached(
            evidence, pick(self.target), pick(self.concepts), None if self.visible is None else pick(self.visible)
        )

    def parts(self, size: int, device: torch.device | str) -> Iterator["Cached"]:
        """All rows in order, so many at once."""
        for start in range(0, len(self), size):
            yield self.part(slice(start, start + size), device)


def cache(model: Any, batches: Iterable[Any], title: str = "") -> Cached:
    """Runs the network once over a data set and keeps its evidence, on the CPU in fp32.

    Args:
        model: with annotated concepts, see `require_annotated`.
        batches: dicts with "input", "target", "concepts" and perhaps "visible", such as `data.test_dataloader()`.
        title: what the progress bar says; no bar without one.

    Raises:
        ValueError: the model cannot be intervened on, or a batch has no concepts or none of the right number.
    """
    require_annotated(model)
    width = len(model.domain.concepts)
    parts: list[Cached] = []
    with torch.no_grad(), evaluating(model):
        for item in tqdm(batches, desc=title, leave=False, disable=not title):
            batch = as_batch(item)
            concepts = batch.get("concepts")
            if concepts is None or concepts.shape[1:] != (width,):
                found = "none" if concepts is None else f"shape {tuple(concepts.shape)}"
                raise ValueError(
                    f"interventions need the true concepts (B, {width}) in each batch, under 'concepts'; got {found}. "
                    "Use data with the concepts that the model was trained on."
                )
            evidence = model.evidence(batch["input"].to(model.device)).float()
            state = {name: tensor.cpu() for name, tensor in evidence.state.items()}
            labels = [None if (t := batch.get(key)) is None else t.cpu() for key in ("target", "concepts", "visible")]
            parts.append(Cached(Evidence(evidence.activation.cpu(), state=state), *labels))
    if not parts:
        raise ValueError("there are no batches to cache; give data with at least one row.")
    return _joined(parts)


def require_annotated(model: Any) -> None:
    """Refuses a model whose concepts have no truth to set them to, or whose scores are not logits of classes.

    Raises:
        ValueError: says which.
    """
    name, domain = type(model).__name__, model.domain
    if not domain.concepts or not hasattr(model, "concept_values"):
        raise ValueError(
            f"interventions set annotated concepts to their truth, and {name} has none; use a model with annotated "
            "concepts, such as cbm or cem (`python train.py list models`)."
        )
    if domain.task != "classification" or model.space != "logit":
        raise ValueError(
            f"intervention curves show accuracy, so they need a classifier that scores in logits; this {name} is for "
            f"{domain.task} and scores in the space '{model.space}'."
        )


@dataclass(frozen=True)
class Annotator:
    """Who answers when a concept is asked for.

    Args:
        competence: probability of a true answer, drawn for every row and concept (for exclusive groups: as a whole);
            0 is an adversary who is wrong every time. A wrong answer to an exclusive group is another of its concepts.
        level: "instance" (the label of the row) or "class" (what most rows of its class have; ties are present). The
            latter may contradict the input.
        invisible: what is answered about concepts that could not be seen: "label" (all the same), "skip" (nothing, so
            that the prediction stays) or "absent" (0, as in Koh et al. 2020).
        seed: of the wrong answers.

    Raises:
        ValueError: a competence outside [0, 1] or an unknown choice.
    """

    competence: float = 1.0
    level: str = "instance"
    invisible: str = "label"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.competence <= 1:
            raise ValueError(f"competence is a probability, in [0, 1]; got {self.competence}.")
        for name, value, known in (("level", self.level, LEVELS), ("invisible", self.invisible, INVISIBLE)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got '{value}'.")

    def truth(self, cached: Cached, exclusive: Sequence[Sequence[int]] = ()) -> Tensor:
        """(N, k) in {0, 1, NaN}: the right answers; NaN where there is none, so that the prediction stays.

        Raises:
            ValueError: what is visible matters, and the data does not tell.
        """
        labels = cached.concepts.float()
        if self.level == "class":
            labels = class_labels(labels, cached.target, exclusive)
        if self.invisible == "label":
            return labels
        if cached.visible is None:
            raise ValueError(
                f"invisible '{self.invisible}' needs to know what the annotators saw, and this data does not tell; "
                "give its batches a mask 'visible' (B, k), or use invisible 'label'."
            )
        return labels.masked_fill(~cached.visible.bool(), torch.nan if self.invisible == "skip" else 0.0)

    def answers(self, truth: Tensor, exclusive: Sequence[Sequence[int]] = ()) -> Tensor:
        """(N, k) what is answered: `truth`, wrong as often as the competence says."""
        if self.competence == 1:
            return truth
        draw = torch.Generator().manual_seed(self.seed)
        lies = torch.rand(truth.shape, generator=draw) >= self.competence
        wrong = 1 - truth
        for columns in exclusive:
            count = len(columns)
            if count > 1:
                step = torch.randint(1, count, (len(truth),), generator=draw)
                other = (truth[:, columns].nan_to_num(0).argmax(1) + step) % count
                wrong[:, columns] = F.one_hot(other, count).to(wrong)
                lies[:, columns] = lies[:, columns[:1]]
        return torch.where(lies & truth.isfinite(), wrong, truth)


def class_labels(concepts: Tensor, target: Tensor, exclusive: Sequence[Sequence[int]] = ()) -> Tensor:
    """(N, k) what most labelled rows of a row's class have, NaN where none is labelled; ties are present.

    Of an exclusive group exactly one concept is present: the most frequent, of ties the first.
    """
    classes = int(target.max()) + 1
    known = torch.zeros(classes, concepts.shape[1]).index_add_(0, target, concepts.isfinite().float())
    votes = torch.zeros_like(known).index_add_(0, target, concepts.nan_to_num(0.0))
    present = (votes >= known / 2).float()
    for columns in exclusive:
        present[:, columns] = F.one_hot(votes[:, columns].argmax(1), len(columns)).float()
    return present.masked_fill(known == 0, torch.nan)[target]


def _joined(parts: Sequence[Cached]) -> Cached:
    first = parts[0]
    state = {name: torch.cat([part.evidence.state[name] for part in parts]) for name in first.evidence.state}
    evidence = Evidence(torch.cat([part.evidence.activation for part in parts]), state=state)
    whole = replace(
        first,
        evidence=evidence,
        target=torch.cat([part.target for part in parts]),
        concepts=torch.cat([part.concepts for part in parts]),
    )
    seen = [part.visible for part in parts if part.visible is not None]
    return replace(whole, visible=torch.cat(seen) if len(seen) == len(parts) else None)
