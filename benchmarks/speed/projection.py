"""Projection ("push") compared with loops over prototypes, at the size of CUB-200-2011.

2,000 prototypes of 200 classes, 128 channels, a 7 x 7 map, 30 images per class, ordered by class as data sets list
them. Features are computed beforehand, so the cost of the backbone is excluded and the look-up is the same for all.
There are two loops, because the result depends on how the loop is written. Both compute the distances of a batch to all
prototypes and then search prototype by prototype in numpy. "as published" copies the rows of the class out of the
array for each prototype (Chen et al., NeurIPS 2019, their push); "lean" reads only the numbers it needs.
"""

import multiprocessing
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from benchmarks.harness import Case, Goal, Reading, peak_memory
from zoo.networks.image_backbones import create_backbone
from zoo.prototypes.layers.projection import nearest_patches
from zoo.training.projection_set import ProjectionSet

CLASSES, PER_CLASS, DIM, GRID, BATCH = 200, 10, 128, 7, 75  # 75 images a batch: the published setting of push
Found = list[np.ndarray]  # squared distance, image and cell of each prototype


class Numbers(Dataset):
    """Items are numbers of images, class by class; `lookup` turns them into features."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[int, int]:
        return i, i * CLASSES // self.count


def make_features(images: int) -> tuple[Tensor, Tensor]:
    """Features (N, D, h, w) in [0, 1] and prototypes (C, Q, D), each near one patch of its class, as after training.

    One patch being clearly the nearest, two ways to round cannot disagree about it.
    """
    draw = torch.Generator().manual_seed(0)
    features = torch.rand(images, DIM, GRID, GRID, generator=draw)
    own = images // CLASSES
    image = torch.arange(CLASSES)[:, None] * own + torch.randint(0, own, (CLASSES, PER_CLASS), generator=draw)
    cell = torch.randint(0, GRID * GRID, image.shape, generator=draw)
    near = features.flatten(2)[image, :, cell]  # (C, Q, D)
    return features, near + 0.05 * torch.randn(near.shape, generator=draw)


def lookup(features: Tensor) -> Callable[[Tensor], Tensor]:
    """The embedding: features by number, from a table that is used again where it ends."""
    return lambda numbers: features[numbers % len(features)]


@torch.no_grad()
def project(prototypes: Tensor, embed: Callable[[Tensor], Tensor], images: int) -> Found:
    """The zoo's projection."""
    projection_set = ProjectionSet(Numbers(images), batch_size=BATCH, device=prototypes.device)
    found = nearest_patches(prototypes, projection_set, embed)
    return [t.cpu().numpy() for t in (found.distance, found.index, found.cell)]


def loop(prototypes: Tensor, features: Tensor, images: int, published: bool) -> Found:
    """Distances of a batch, then a search prototype by prototype, with the published indexing or the least copying."""
    flat, embed = prototypes.flatten(0, 1), lookup(features)
    identity = torch.eye(CLASSES).repeat_interleave(PER_CLASS, 0)  # (P, C)
    kernels, squares = flat[:, :, None, None], flat.square().sum(1)[:, None, None]
    best, index, cell = np.full(len(flat), np.inf), np.full(len(flat), -1), np.full(len(flat), -1)
    patches = np.zeros((len(flat), DIM))
    for batch in ProjectionSet(Numbers(images), batch_size=BATCH):
        z = embed(batch["input"])
        lengths = z.square().sum(1, keepdim=True)  # (B, 1, h, w)
        distances = F.relu(lengths - 2 * F.conv2d(z, kernels) + squares).numpy()  # (B, P, h, w)
        z = z.numpy()
        if published:
            distances, z = distances.copy(), z.copy()
        rows: dict[int, list[int]] = {c: [] for c in range(CLASSES)}
        for row, label in enumerate(batch["target"].tolist()):
            rows[label].append(row)
        for j in range(len(flat)):
            mine = rows[int(identity[j].argmax()) if published else j // PER_CLASS]
            if not mine:
                continue
            own = distances[mine][:, j] if published else distances[mine, j]  # (images of the class, h, w)
            least = own.min()
            if least < best[j]:
                row, place = divmod(int(own.argmin()), GRID * GRID)
                best[j], index[j], cell[j] = least, int(batch["index"][mine[row]]), place
                patches[j] = z[mine[row], :, place // GRID, place % GRID]
    return [best, index, cell]


def memory_of(images: int) -> float:
    """MiB that projecting needs at its peak, beyond a table of 400 images' features that is there before."""
    features, prototypes = make_features(400)
    project(prototypes, lookup(features), CLASSES)  # what libraries set up once
    return peak_memory(lambda: project(prototypes, lookup(features), images), torch.device("cpu")) or 0.0


def beside_backbone(device: torch.device, images: int = 6000) -> Case:
    """A whole push with images of 224 pixels beside the passes of the backbone that it needs."""
    backbone = create_backbone({"name": "resnet34"}, 3).eval().to(device)
    addon = torch.nn.Conv2d(backbone.channels, DIM, 1).to(device)
    batch = torch.rand(BATCH, 3, 224, 224, device=device)
    prototypes = torch.rand(CLASSES, PER_CLASS, DIM, device=device)

    def embed(numbers: Tensor) -> Tensor:
        return addon(backbone(batch[: len(numbers)])).sigmoid()

    @torch.no_grad()
    def passes() -> None:
        for part in ProjectionSet(Numbers(images), batch_size=BATCH, device=device):
            embed(part["input"])

    return Case(
        f"whole push of {images:,} images, ResNet-34 at 224 pixels",
        {"zoo": lambda: project(prototypes, embed, images), "the backbone's passes alone": passes},
        cost=True,
        goal=Goal(at_most=1.1),
        apart=None,
    )


def cases(device: torch.device) -> Iterator[Case | Reading]:
    if device.type == "cuda":
        yield beside_backbone(device)
        return
    images = 30 * CLASSES
    features, prototypes = make_features(images)
    yield Case(
        f"{CLASSES * PER_CLASS:,} prototypes onto {images:,} images",
        {
            "zoo": lambda: project(prototypes, lookup(features), images),
            "loop, as published": lambda: loop(prototypes, features, images, True),
            "loop, lean": lambda: loop(prototypes, features, images, False),
        },
        goal=Goal(at_least=20),
        apart=1e-3,  # the loops' expanded squares of about 43 round to 1e-5; images and cells are the same
    )
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # a fresh process for each
        peaks = {count: pool.apply(memory_of, (count,)) for count in (600, 6000)}
        pool.close()
        pool.join()
    for count, peak in peaks.items():
        yield Reading(f"peak memory, {count:,} images", peak, "MiB")
    yield Reading(
        "peak memory, 6,000 relative to 600 images", peaks[6000] / max(peaks[600], 1.0), "x", Goal(at_most=1.25)
    )
