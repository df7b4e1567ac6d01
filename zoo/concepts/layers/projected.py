"""What models share whose concepts are directions in the features of a frozen backbone."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.training.projection_set import ProjectionSet
from zoo.utils.errors import did_you_mean, outside_checkpoint


class TextImageEncoder(Protocol):
    """What scores concepts for images: any encoder of both into one space, such as `zoo.concepts.OpenCLIP`."""

    def encode_images(self, x: Tensor) -> Tensor:
        """Inputs (B, ...) as vectors (B, e) of unit length."""
        ...

    def encode_texts(self, texts: list[str]) -> Tensor:
        """Phrases as vectors (M, e) of unit length."""
        ...


@torch.no_grad()
def score_concepts(projection_set: ProjectionSet, encoder: TextImageEncoder, concepts: list[str]) -> Tensor:
    """(N, M) how well each phrase fits each image: products of their vectors, in the order of the reference set."""
    texts = encoder.encode_texts(concepts)
    return torch.cat([encoder.encode_images(batch["input"]) @ texts.T for batch in projection_set])


def save_scores(path: str | Path, scores: Tensor, concepts: list[str], items: list[str]) -> None:
    """Writes concept scores (N, M) with the names of the M concepts and of the N items, for models that read a file."""
    if scores.shape != (len(items), len(concepts)):
        raise ValueError(
            f"scores must be (items, concepts) = {(len(items), len(concepts))}; got {tuple(scores.shape)}."
        )
    about = {"concepts": json.dumps(concepts), "items": json.dumps(items)}
    save_file({"scores": scores.float().contiguous()}, str(path), about)


def read_scores(path: str | Path) -> tuple[Tensor, list[str], list[str]]:
    """What `save_scores` wrote: scores (N, M), names of concepts, names of items.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no concept scores.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no concept scores at {path}; write them with `train.py score-concepts`.")
    try:
        with safe_open(str(path), framework="pt") as opened:
            about = opened.metadata() or {}
            if "concepts" not in about or "items" not in about:
                raise ValueError(f"{path} holds no concept scores; write them with `train.py score-concepts`.")
            return opened.get_tensor("scores"), json.loads(about["concepts"]), json.loads(about["items"])
    except SafetensorError as error:
        raise ValueError(f"{path} is no intact safetensors file ({error}).") from error


def refuse_scores(arguments: Mapping[str, Any], name: str) -> None:
    """Refuses arguments of a checkpoint that name a file of scores without the concepts that were read from it.

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
    """Rows of scores in the order of the reference set, found by the items' names.

    Raises:
        ValueError: an item of the reference set has no row.
    """
    row = {name: i for i, name in enumerate(items)}
    names = [projection_set.name(i) for i in range(len(projection_set))]
    lost = [name for name in names if name not in row]
    if lost:
        raise ValueError(f"{path} has no scores for {len(lost)} of {len(names)} training items (first: {lost[0]}).")
    return scores[[row[name] for name in names]]


def columns_of(wanted: Sequence[str], found: Sequence[str], where: str | Path) -> list[int]:
    """Columns of the wanted concepts among those that are there.

    Raises:
        ValueError: one is not there.
    """
    if lost := [name for name in wanted if name not in found]:
        raise ValueError(f"{where} has no scores of the concepts {', '.join(lost[:5])}; {did_you_mean(lost[0], found)}")
    return [found.index(name) for name in wanted]


class Streamed(Protocol):
    """A model with a backbone from inputs to vectors."""

    backbone: nn.Module


def collect(model: Streamed, projection_set: ProjectionSet, *keys: str) -> list[Tensor]:
    """Features (N, d) of the whole reference set, and what its batches hold under `keys`, in its order, on every rank.

    Raises:
        ValueError: the batches have no such key.
    """
    parts: dict[str, list[Tensor]] = {"features": [], **{key: [] for key in keys}}
    for batch in projection_set:
        parts["features"].append(model.backbone(batch["input"]).float())
        for key in keys:
            if key not in batch:
                raise ValueError(f"the data has no '{key}' in its batches; use data with annotated {key}.")
            parts[key].append(batch[key])
    return [projection_set.gather(torch.cat(rows)) for rows in parts.values()]


def cubed_cosine(q: Tensor, p: Tensor) -> Tensor:
    """(M,) similarity of the columns of q and p (N, M): the cosine after centring and cubing (Label-free CBM, 2023)."""
    q, p = ((t - t.mean(0)).pow(3) for t in (q, p))
    return torch.nn.functional.cosine_similarity(q, p, dim=0)


def fit_projection(
    features: Tensor,
    scores: Tensor,
    *,
    steps: int = 1000,
    lr: float = 1e-3,
    every: int = 50,
    rows: int = 50_000,
    held_out: int = 10,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Directions (M, d) whose products with the features follow the concept scores, and how well they do (M,).

    Every `held_out`-th row only tells when to stop (at the first fall) and how similar the columns are.

    Args:
        features: (N, d).
        scores: (N, M).
        steps: of Adam, at most.
        lr: its learning rate.
        every: steps between looks at the held-out rows.
        rows: of one batch, at most.
        held_out: every so many-th row is held out.
        seed: of the start and the batches.
        report: called with the step and the mean similarity at every look.
    """
    held = torch.arange(len(features), device=features.device) % held_out == held_out - 1
    train_x, train_p, val_x, val_p = features[~held], scores[~held], features[held], scores[held]
    draw = torch.Generator().manual_seed(seed)
    start = torch.randn(scores.shape[1], features.shape[1], generator=draw) * features.shape[1] ** -0.5
    weight = start.to(features).requires_grad_()
    optimizer = torch.optim.Adam([weight], lr)
    best, kept = -torch.inf, weight.detach().clone()
    with torch.enable_grad():
        for step in range(1, steps + 1):
            if len(train_x) > rows:
                chosen = torch.randperm(len(train_x), generator=draw)[:rows].to(features.device)
                x, p = train_x[chosen], train_p[chosen]
            else:
                x, p = train_x, train_p
            loss = -cubed_cosine(x @ weight.T, p).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % every == 0 or step == steps:
                with torch.no_grad():
                    now = cubed_cosine(val_x @ weight.T, val_p).mean().item()
                if report:
                    report(step, now)
                if now < best:
                    break
                best, kept = now, weight.detach().clone()
    return kept, cubed_cosine(val_x @ kept.T, val_p)
