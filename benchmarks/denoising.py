"""Does Filter2Noise restore as well as non-local means? `python -m benchmarks.denoising`

Needs `pip install ".[denoise]"`. Fits Filter2Noise to single noisy pictures and compares it with non-local means, total
variation and wavelets of scikit-image, for three kinds of noise. The parameters of every method, of Filter2Noise the
loss, are those of the largest mean PSNR on two validation pictures with noise of two seeds, for each kind of noise;
neither is a test picture, and these are looked at once, with the choice made. Writes benchmarks/DENOISING.md and .json;
finished methods are kept, so an interrupted command resumes. Six minutes on one core.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data import NoisyPicture
from zoo.data.real.noisy_picture import cut
from zoo.data.synthetic.noise import KINDS, add_noise, phantom
from zoo.domain import ImageDomain
from zoo.parts.filter2noise import PUBLISHED, Filter2Noise
from zoo.utils.optional import need

HERE = Path(__file__).parent
RECORD = HERE / "DENOISING.json"
SIDE, LEVEL, SEEDS, VALIDATION = 48, 0.1, (0, 1, 2), (100, 101)  # the last: seeds of noise to choose with
POISSON = 0.15
FEW = 3  # candidates whose validation is printed, each
PAPER = {"risk": 0.0, "hidden": 0.0, **dict.fromkeys(PUBLISHED, 1 / 3), "edges": 350.0}  # weights of the losses
ABOUT = {
    "gaussian": "Gaussian noise of deviation 0.1",
    "poisson": "Poisson noise of deviation 0.15 √x",
    "correlated": "Gaussian noise of deviation 0.1, correlated up to two pixels away",
}
Choices = list[tuple[str, Callable[[Tensor], Tensor]]]  # parameters in words, and what restores a picture with them
INTRODUCTION = f"""# Denoising: Filter2Noise beside non-local means

Written by `python -m benchmarks.denoising`. Pictures of {SIDE} x {SIDE} pixels in [0, 1] with noise, cut off and
rounded to 256 values. The parameters of each method are those of the largest mean PSNR on two validation pictures (a
phantom and scikit-learn's flower) with noise of two seeds, which are not measured; of Filter2Noise it is the loss, one
of two: hidden pixels, whose blocks follow from the kind of noise, or the risk with covariances of the noise that are
estimated from the picture. Its first widths and the surroundings that its filters compare were chosen on the same
pictures, once for all kinds of noise. The test pictures are others: another phantom, scikit-learn's china, and camera
and (in colour) coffee of scikit-image, each with noise of three seeds. Filter2Noise is fitted to each noisy picture
alone, and never sees a clean one.

PSNR in decibels and SSIM are means over the test pictures and seeds. *better*: on how many of them the PSNR of
Filter2Noise is above that of the method. *s*: CPU seconds of a picture, on one core; for Filter2Noise they are those of
the fit. *start*: Filter2Noise with the widths that a fit begins with. *same surroundings*: the same with both filters
comparing surroundings of one size, in place of 3 x 3 and then single pixels. *published loss*: a fit with that of the
paper; it was made for correlated noise, and for larger pictures.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="measure also what is measured already")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() and not options.again else {}
    for kind in KINDS:
        found = record.setdefault(kind, {})
        for method, choices in methods(kind).items():
            if method not in found:
                found[method] = measured(kind, choices)
                print(f"{kind}, {method}: {found[method]['validation']:.2f} dB on validation", flush=True)
                RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (HERE / "DENOISING.md").write_text(page(record), encoding="utf-8")
    print(page(record))
    return 0


def measured(kind: str, choices: Choices) -> dict[str, Any]:
    """Chosen parameters and results of a method for one kind of noise."""
    validation = [(noisy(x, kind, seed), x) for x in validation_pictures() for seed in VALIDATION]
    scores = [(mean([psnr(run(y), x) for y, x in validation]), i) for i, (_, run) in enumerate(choices)]
    best, place = max(scores)
    if 1 < len(choices) <= FEW:
        print(*(f"{kind}, {choices[i][0]}: {score:.2f} dB" for score, i in scores), sep="\n", flush=True)
    chosen, run = choices[place]
    rows = []
    for name, x in test_pictures().items():
        for seed in SEEDS:
            start = time.process_time()
            restored = run(noisy(x, kind, seed))
            seconds = time.process_time() - start
            scored = {"psnr": psnr(restored, x), "ssim": ssim(restored, x), "s": seconds}
            rows.append({"picture": name, "seed": seed, **scored})
    return {"chosen": chosen, "validation": best, "test": rows}


def methods(kind: str) -> dict[str, Choices]:
    """The candidates of each method: their parameters in words, and a function from noisy to restored pictures."""
    lossy = kind == "correlated"  # what the published loss was made for
    published: Choices = [("lr 0.01", partial(filter2noise, lr=1e-2, epochs=3, coefficients=PAPER))]
    block, every = (3, 8) if lossy else (1, 4)
    hidden = {"lr": 1e-3, "epochs": 1, "block": block, "every": every, "coefficients": {"risk": 0.0, "hidden": 1.0}}
    risk = {"lr": 3e-3, "epochs": 3, "coefficients": {"risk": 1.0, "hidden": 0.0}}
    ours: Choices = [
        (f"hidden blocks of {block}, every {every}", partial(filter2noise, **hidden)),
        ("risk", partial(filter2noise, **risk)),
    ]
    restoration = need("skimage.restoration", "denoise")
    means, total, wavelets = (
        restoration.denoise_nl_means,
        restoration.denoise_tv_chambolle,
        restoration.denoise_wavelet,
    )
    grid = itertools.product((3, 5, 7, 9), (5, 8, 12), (0.4, 0.6, 0.8, 1.0, 1.3), (0.0, 1.0))
    return {
        "Filter2Noise": ours,
        "start": [("", partial(filter2noise, lr=0.0))],
        "same surroundings": [(f"{side} x {side}", partial(filter2noise, lr=0.0, match=side)) for side in (1, 3, 5)],
        "non-local means": [
            (
                f"patches of {size}, distance {far}, h {h * LEVEL:.2f}, sigma {sigma * LEVEL:g}",
                library(means, patch_size=size, patch_distance=far, h=h * LEVEL, sigma=sigma * LEVEL, fast_mode=True),
            )
            for size, far, h, sigma in grid
        ],
        "total variation": [
            (f"weight {w:g}", library(total, weight=w)) for w in (0.03, 0.05, 0.07, 0.1, 0.13, 0.16, 0.2, 0.25)
        ],
        "wavelets": [
            (f"{name}, {mode}", library(wavelets, method=name, mode=mode, rescale_sigma=True))
            for name in ("BayesShrink", "VisuShrink")
            for mode in ("soft", "hard")
        ],
        **({"published loss": published} if lossy else {}),
    }


def library(call: Callable[..., Any], **options: Any) -> Callable[[Tensor], Tensor]:
    """A function of scikit-image from a noisy picture (C, H, W) to a restored one."""

    def run(y: Tensor) -> Tensor:
        pixels = y.movedim(0, -1).numpy()
        restored = np.asarray(call(pixels, channel_axis=-1, **options)).reshape(pixels.shape)  # grey loses its channel
        return torch.from_numpy(restored).movedim(-1, 0)

    return run


def filter2noise(y: Tensor, lr: float, epochs: int = 0, coefficients: Any = None, **options: Any) -> Tensor:
    """The restored picture of a model that was fitted to it, with the steps of `fit`; of the start without epochs."""
    channels = y.shape[0]
    domain = ImageDomain(
        classes=(),
        task="regression",
        size=(y.shape[1], y.shape[2]),
        channels=channels,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        restored=True,
    )
    torch.manual_seed(0)
    model = Filter2Noise(domain, recipe={"coefficients": coefficients or {}}, **options)  # pyright: ignore
    stage = replace(model.stages[0], epochs=epochs)
    optimizer = torch.optim.AdamW(model.predictors.parameters(), lr, weight_decay=0.01)
    steps = NoisyPicture("phantom").steps
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = lr * stage.lr_factor(epoch)
        for _ in range(steps):
            optimizer.zero_grad()
            terms = model.losses(*model.step(y[None]), {"input": y[None]})  # pyright: ignore
            torch.stack([model.coefficients[name] * term for name, term in terms.items()]).sum().backward()
            optimizer.step()
    with torch.no_grad():
        return model.eval().restore(y[None])[0]


def noisy(x: Tensor, kind: str, seed: int) -> Tensor:
    """A picture as a file of it would be."""
    level = POISSON if kind == "poisson" else LEVEL
    y = add_noise(x, kind, level, torch.Generator().manual_seed(seed))
    return y.mul(255).round().clamp(0, 255).div(255)


def validation_pictures() -> list[Tensor]:
    return [phantom(SIDE, 1, torch.Generator().manual_seed(1)), shrunk_sample("flower")]


def test_pictures() -> dict[str, Tensor]:
    data = need("skimage.data", "denoise")
    return own_test_pictures() | {"camera": shrunk(data.camera(), 4), "coffee": shrunk(data.coffee(), 4)}


def own_test_pictures() -> dict[str, Tensor]:
    """Those test pictures that are of the same sources as the validation pictures."""
    return {"phantom": phantom(SIDE, 1, torch.Generator().manual_seed(2)), "china": shrunk_sample("china")}


def shrunk_sample(name: str) -> Tensor:
    """A sample picture of scikit-learn in grey."""
    return NoisyPicture(f"sample:{name}", shrink=4, size=(SIDE, SIDE)).items("test", False).noisy


def shrunk(pixels: Any, times: int) -> Tensor:
    """The middle of a picture (H, W) or (H, W, 3) of uint8 after it was made smaller."""
    picture = torch.from_numpy(np.atleast_3d(pixels).copy()).movedim(-1, 0).float() / 255
    return cut(torch.nn.functional.avg_pool2d(picture, times), (SIDE, SIDE))


def psnr(restored: Tensor, x: Tensor) -> float:
    return float(-10 * torch.log10((restored.clamp(0, 1) - x).square().mean()))


def ssim(restored: Tensor, x: Tensor) -> float:
    metrics = need("skimage.metrics", "denoise")
    a, b = (v.clamp(0, 1).movedim(0, -1).double().numpy() for v in (restored, x))
    return float(metrics.structural_similarity(a, b, channel_axis=-1, data_range=1.0))


def page(record: dict[str, Any]) -> str:
    """The tables as Markdown."""
    lines = [INTRODUCTION]
    for kind, found in record.items():
        ours = [row["psnr"] for row in found["Filter2Noise"]["test"]]
        lines += [
            f"## {ABOUT[kind]}",
            "",
            "| method | PSNR | SSIM | better | s | chosen |",
            "|---|---|---|---|---|---|",
        ]
        for method, result in found.items():
            rows = result["test"]
            better = sum(a > row["psnr"] for a, row in zip(ours, rows, strict=True))
            cells = [f"{mean([row['psnr'] for row in rows]):.2f}", f"{mean([row['ssim'] for row in rows]):.3f}"]
            cells += ["" if method == "Filter2Noise" else f"{better} of {len(rows)}"]
            cells += [f"{mean([row['s'] for row in rows]):.2f}", result["chosen"]]
            lines.append(f"| {method} | {' | '.join(cells)} |")
        other = mean([row["psnr"] for row in found["non-local means"]["test"]])
        goal = "met" if mean(ours) >= other else "**missed**"
        ahead = f"{mean(ours) - other:+.2f}".replace("-", "\u2212")
        lines += ["", f"Goal, at least the PSNR of non-local means: {goal} ({ahead} dB).", ""]
    return "\n".join(lines)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    sys.exit(main())
