"""Projection against loops over prototypes, at the shape of CUB-200-2011: `python -m benchmarks.push` (on Linux).

2,000 prototypes of 200 classes, 128 channels, a 7 x 7 map, 30 images a class in order of class, as data sets list them.
Features are computed beforehand, so that all sides pay for the same look-up and the backbone's cost is left out.

Two loops, because the answer depends on how the loop is written: both compute the distances of a batch to all
prototypes and then search prototype by prototype in numpy. "as published" first takes the rows of the class out of the
whole array, for every prototype, and copies the features (Chen et al., NeurIPS 2019, their push); "lean" reads no more
than the numbers it needs.
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

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


def project(prototypes: Tensor, features: Tensor, images: int) -> Found:
    """The zoo's projection."""
    with torch.no_grad():
        found = nearest_patches(prototypes, Reference(Numbers(images), batch_size=BATCH), lookup(features))
    return found.distance.numpy(), found.index.numpy(), found.cell.numpy()


def loop_as_published(prototypes: Tensor, features: Tensor, images: int) -> Found:
    """The loop with the published indexing."""
    identity = torch.eye(CLASSES).repeat_interleave(PER_CLASS, 0)  # (P, C)
    return _loop(prototypes, features, images, lambda all_, rows, j: all_[rows][:, j], identity)


def loop_lean(prototypes: Tensor, features: Tensor, images: int) -> Found:
    """The loop with the least copying."""
    return _loop(prototypes, features, images, lambda all_, rows, j: all_[rows, j], None)


def _loop(
    prototypes: Tensor,
    features: Tensor,
    images: int,
    pick: Callable[[np.ndarray, list[int], int], np.ndarray],
    identity: Tensor | None,
) -> Found:
    flat, embed = prototypes.flatten(0, 1), lookup(features)
    kernels, squares = flat[:, :, None, None], flat.square().sum(1)[:, None, None]
    best, index, cell = np.full(len(flat), np.inf), np.full(len(flat), -1), np.full(len(flat), -1)
    patches = np.zeros((len(flat), DIM))
    for batch in Reference(Numbers(images), batch_size=BATCH):
        z = embed(batch["input"])
        lengths = z.square().sum(1, keepdim=True)  # (B, 1, h, w)
        distances = F.relu(lengths - 2 * F.conv2d(z, kernels) + squares).numpy()  # (B, P, h, w)
        z = z.numpy()
        if identity is not None:
            distances, z = distances.copy(), z.copy()
        rows: dict[int, list[int]] = {c: [] for c in range(CLASSES)}
        for row, label in enumerate(batch["target"].tolist()):
            rows[label].append(row)
        for j in range(len(flat)):
            mine = rows[j // PER_CLASS if identity is None else int(identity[j].argmax())]
            if not mine:
                continue
            own = pick(distances, mine, j)  # (images of the class, h, w)
            least = own.min()
            if least < best[j]:
                row, place = divmod(int(own.argmin()), GRID * GRID)
                best[j], index[j], cell[j] = least, int(batch["index"][mine[row]]), place
                patches[j] = z[mine[row], :, place // GRID, place % GRID]
    return best, index, cell


def check_equal(ours: Found, theirs: Found) -> None:
    """Refuses to compare the speed of two searches that find different things.

    Raises:
        ArithmeticError: they do.
    """
    same = (ours[1] == theirs[1]) & (ours[2] == theirs[2])
    apart = float(np.abs(ours[0] - theirs[0]).max())
    if not same.all() or apart > 1e-3:  # the loops' expanded squares of about 43 round to 1e-5
        raise ArithmeticError(f"{(~same).sum()} of {len(same)} prototypes differ, distances by up to {apart:.3g}.")


def measure_memory(images: int) -> float:
    """MB that projecting needs at its peak, beyond a table of 400 images' features that is there before."""
    features, prototypes = make_features(400)
    project(prototypes, features, CLASSES)  # what libraries set up once
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _resident("VmRSS")
    project(prototypes, features, images)
    return (_resident("VmHWM") - before) / 2**10


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.push", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=6000, help="training images, a multiple of the 200 classes")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, taken in turn")
    options = parser.parse_args()
    if options.images < CLASSES or options.images % CLASSES or options.repeats < 1:
        parser.error(f"--images must be a multiple of {CLASSES} and --repeats at least 1; got {vars(options)}")

    features, prototypes = make_features(options.images)
    sides = {"zoo": project, "loop, as published": loop_as_published, "loop, lean": loop_lean}
    found = {name: side(prototypes, features, options.images) for name, side in sides.items()}  # also warms up
    for name in sides:
        check_equal(found["zoo"], found[name])
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.repeats):
        for name, side in sides.items():
            start = time.perf_counter()
            side(prototypes, features, options.images)
            times[name].append(time.perf_counter() - start)

    print(
        f"projection of {CLASSES * PER_CLASS:,} prototypes onto {options.images:,} images ({DIM} x {GRID} x {GRID}), "
        f"{torch.get_num_threads()} threads; the same image and cell for all prototypes"
    )
    print(f"  {'':<24}{'median of ' + str(options.repeats):>14}{'zoo is faster':>16}{'(each run)':>18}")
    for name in sides:
        ratios = sorted(theirs / ours for ours, theirs in zip(times["zoo"], times[name], strict=True))
        ratio = statistics.median(times[name]) / statistics.median(times["zoo"])
        spread = f"{ratios[0]:.1f} to {ratios[-1]:.1f}"
        print(f"  {name:<24}{statistics.median(times[name]):>12.3f} s{ratio:>14.1f} x{spread:>18}")
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # a fresh process for each
        for images in (500, 2000):
            extra = pool.apply(measure_memory, (images,))
            print(f"  peak extra memory of the zoo, {images:,} images: {extra:.1f} MB")
        pool.close()
        pool.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
