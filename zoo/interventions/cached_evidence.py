"""The evidence of a data set, computed once, so that interventions need no further pass through the network."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.concepts.layers.annotated import AnnotatedConcepts
from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.training.batch import as_batch
from zoo.training.modes import evaluating
from zoo.utils.progress import track


@dataclass(frozen=True, eq=False)
class CachedEvidence:
    """The evidence of N inputs and their labels.

    Attributes:
        evidence: without supports.
        target: (N,) classes.
        concepts: (N, k) labels in {0, 1}, NaN where there is no annotation.
        visible: (N, k), whether the annotators could see the concept; None if the data has no such mask.
    """

    evidence: Evidence
    target: Tensor
    concepts: Tensor
    visible: Tensor | None = None

    def __len__(self) -> int:
        return len(self.target)

    def part(self, rows: slice, device: torch.device | str) -> "CachedEvidence":
        """Some of the rows, on a device."""
        pick = lambda t: t[rows].to(device, non_blocking=True)  # noqa: E731
        state = {name: pick(tensor) for name, tensor in self.evidence.state.items()}
        evidence = Evidence(pick(self.evidence.activation), state=state)
        visible = None if self.visible is None else pick(self.visible)
        return CachedEvidence(evidence, pick(self.target), pick(self.concepts), visible)

    def parts(self, size: int, device: torch.device | str) -> Iterator["CachedEvidence"]:
        """All rows in order, in parts of `size` rows, on a device."""
        for start in range(0, len(self), size):
            yield self.part(slice(start, start + size), device)


def cache_evidence(model: SelfInterpretable, batches: Iterable[Any], title: str = "") -> CachedEvidence:
    """Runs the network once over a data set and keeps its evidence, on the CPU in fp32.

    Args:
        model: with annotated concepts, see `concepts_of`.
        batches: dicts with "input", "target", "concepts" and optionally "visible", such as `data.test_dataloader()`.
        title: of the progress bar; empty for none.

    Raises:
        ValueError: the model does not support interventions, or a batch has no concepts or another number of them.
    """
    width = concepts_of(model).count
    parts: list[CachedEvidence] = []
    with torch.no_grad(), evaluating(model):
        for item in track(batches, title, shown=bool(title)):
            batch = as_batch(item)
            concepts, visible = batch.get("concepts"), batch.get("visible")
            if concepts is None or concepts.shape[1:] != (width,):
                found = "none" if concepts is None else f"shape {tuple(concepts.shape)}"
                raise ValueError(
                    f"interventions need the true concepts (B, {width}) in each batch, under 'concepts'; got {found}. "
                    "Use data with the concepts that the model was trained on."
                )
            evidence = model.evidence(batch["input"].to(model.device)).float()
            state = {name: tensor.cpu() for name, tensor in evidence.state.items()}
            kept = Evidence(evidence.activation.cpu(), state=state)
            seen = None if visible is None else visible.cpu()
            parts.append(CachedEvidence(kept, batch["target"].cpu(), concepts.cpu(), seen))
    if not parts:
        raise ValueError("there are no batches to cache; give data with at least one row.")
    return _joined(parts)


def concepts_of(model: SelfInterpretable) -> AnnotatedConcepts:
    """The annotated concepts of a model that supports interventions.

    Raises:
        ValueError: the model has no annotated concepts, or its scores are not logits of classes.
    """
    name, domain, concepts = type(model).__name__, model.domain, getattr(model, "annotated", None)
    if not isinstance(concepts, AnnotatedConcepts):
        raise ValueError(
            f"interventions set annotated concepts to their truth, and {name} has none; use a model with annotated "
            "concepts, such as cbm or cem (`python train.py list models`)."
        )
    if domain.task != "classification" or model.space != "logit":
        raise ValueError(
            f"intervention curves show accuracy, so they need a classifier whose scores are logits; this {name} is for "
            f"{domain.task} and has scores of the kind '{model.space}'."
        )
    return concepts


def _joined(parts: Sequence[CachedEvidence]) -> CachedEvidence:
    state = {name: torch.cat([part.evidence.state[name] for part in parts]) for name in parts[0].evidence.state}
    visible = [part.visible for part in parts if part.visible is not None]
    return CachedEvidence(
        Evidence(torch.cat([part.evidence.activation for part in parts]), state=state),
        torch.cat([part.target for part in parts]),
        torch.cat([part.concepts for part in parts]),
        torch.cat(visible) if len(visible) == len(parts) else None,
    )
