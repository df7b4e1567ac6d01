"""Projection against the plain loop, at the shape of CUB-200-2011: `python -m benchmarks.push`.

2,000 prototypes of 200 classes, 128 channels, a 7 x 7 map. Features are computed beforehand, so that both sides pay
for a look-up only and the backbone's cost, which is the same for both, is left out.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from zoo.prototypes.projection import nearest_patches
from zoo.reference import Reference

CLASSES, PER_CLASS, DIM, GRID, BATCH = 200, 10, 128, 7, 75  # 75 images a batch: the published setting of push
Found = tuple[np.ndarray, np.ndarray, np.ndarray]  # squared distance, image and cell of each prototype


class Numbers(Dataset):
    """Items are numbers of images; `lookup` turns them into features."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[int, int]:
        return i, i % CLASSES


def make_features(images: int) -> tuple[Tensor, Tensor]:
    """Features (N, D, h, w) in [0, 1] and prototypes (C, Q, D), each close to one patch of its class, as after training.

    One patch being clearly the nearest, two ways to round cannot disagree about it.
    """
    draw = torch.Generator().manual_seed(0)
    features = torch.rand(images, DIM, GRID, GRID, generator=draw)
    label = torch.arange(CLASSES)[:, None].expand(-1, PER_CLASS)
    image = label + CLASSES * torch.randint(0, images // CLASSES, label.shape, generator=draw)
    cell = torch.randint(0, GRID * GRID, label.shape, generator=draw)
    near = features.flatten(2)[image, :, cell]  # (C, Q, D)
    return features, near + 0.05 * torch.randn(near.shape, generator=draw)


def lookup(features: Tensor) -> Callable[[Tensor], Tensor]:
    """The embedding: images by number, as often as the table must be repeated."""
    return lambda numbers: features[numbers % len(features)]


def project(prototypes: Tensor, features: Tensor, images: int) -> Found:
    """The zoo's projection."""
    with torch.no_grad():
        found = nearest_patches(prototypes, Reference(Numbers(images), batch_size=BATCH), lookup(features))
    return found.distance.numpy(), found.index.numpy(), found.cell.numpy()


def loop(prototypes: Tensor, features: Tensor, images: int) -> Found:
    """The plain way: distances of the whole batch to all prototypes, then a loop over prototypes in numpy."""
    flat, embed = prototypes.flatten(0, 1), lookup(features)
    kernels, squares = flat[:, :, None, None], flat.square().sum(1)[:, None, None]
    best, index, cell = np.full(len(flat), np.inf), np.full(len(flat), -1), np.full(len(flat), -1)
    with torch.no_grad():
        for batch in Reference(Numbers(images), batch_size=BATCH):
            z = embed(batch["input"])
            lengths = z.square().sum(1, keepdim=True)  # (B, 1, h, w)
            distances = F.relu(lengths - 2 * F.conv2d(z, kernels) + squares).numpy()  # (B, P, h, w)
            rows: dict[int, list[int]] = {c: [] for c in range(CLASSES)}
            for row, label in enumerate(batch["target"].tolist()):
                rows[label].append(row)
            for j in range(len(flat)):
                mine = rows[j // PER_CLASS]
                if not mine:
                    continue
                own = distances[mine, j]  # (images of the class, h, w)
                least = own.min()
                if least < best[j]:
                    row, place = divmod(int(own.argmin()), GRID * GRID)
                    best[j], index[j], cell[j] = least, int(batch["index"][mine[row]]), place
    return best, index, cell


def check_equal(ours: Found, theirs: Found) -> None:
    """Refuses to compare the speed of two searches that find different things.

    Raises:
        ArithmeticError: they do.
    """
    same = (ours[1] == theirs[1]) & (ours[2] == theirs[2])
    apart = float(np.abs(ours[0] - theirs[0]).max())
    if not same.all() or apart > 1e-3:  # the loop's product of vectors of length 6 rounds to about 1e-5
        raise ArithmeticError(f"{(~same).sum()} of {len(same)} prototypes differ, distances by up to {apart:.3g}.")


def measure_memory(images: int) -> float:
    """MB by which the peak of this process grows while projecting; features come from a table of 400 images."""
    features, prototypes = make_features(400)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    project(prototypes, features, images)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return grown / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.push", description=__doc__)
    parser.add_argument("--images", type=int, default=1000, help="training images, a multiple of the 200 classes")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, taken in turn")
    options = parser.parse_args()
    if options.images < CLASSES or options.images % CLASSES:
        parser.error(f"--images must be a multiple of {CLASSES}; got {options.images}")

    features, prototypes = make_features(options.images)
    sides = {"zoo": project, "loop": loop}
    found = {name: side(prototypes, features, options.images) for name, side in sides.items()}  # also warms up
    check_equal(found["zoo"], found["loop"])
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.repeats):
        for name, side in sides.items():
            start = time.perf_counter()
            side(prototypes, features, options.images)
            times[name].append(time.perf_counter() - start)
    zoo, plain = (statistics.median(times[name]) for name in sides)
    ratios = sorted(b / a for a, b in zip(times["zoo"], times["loop"], strict=True))

    count = CLASSES * PER_CLASS
    print(f"projection of {count:,} prototypes onto {options.images:,} images ({DIM} x {GRID} x {GRID}), ", end="")
    print(f"{torch.get_num_threads()} threads, median of {options.repeats}")
    print(f"  {'loop over prototypes':<24}{plain:9.3f} s")
    print(f"  {'zoo':<24}{zoo:9.3f} s")
    print(f"  {'ratio':<24}{plain / zoo:9.1f}     ({ratios[0]:.1f} to {ratios[-1]:.1f}); same image and cell for all")
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # a fresh process for each
        for images in (500, 2000):
            print(
                f"  {f'peak memory, {images:,} images':<24}{pool.apply(measure_memory, (images,)):9.1f} MB more than before"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
