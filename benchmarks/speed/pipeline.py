"""From JPEG files to training batches at 224 pixels, and features of a frozen backbone that are computed once.

The files are photographs of $ZOO_DATA/cub50 if available, else generated ones, all of about 256 pixels on the short
side. CPU times are of one core; workers share nothing, so throughput grows with the number of cores. "plain" opens each
file with Pillow, applies torchvision's Compose and stacks the results.

Tried and slower: normalising a batch at once, because its 45 MB do not fit the cache; shifts and changes of light on
tensors, which are therefore done by Pillow. Not used: Pillow's draft mode, which decodes other pixels than evaluation
reads and would not help for images of this size.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset, default_collate
from torchvision import transforms as v1
from torchvision.models import resnet34
from torchvision.transforms.v2.functional import to_pil_image

import zoo
from benchmarks.harness import Case, Goal, Reading
from zoo.data import ImageFolder
from zoo.data.base.images import Pictures
from zoo.training.cached_features import CachedFeatures
from zoo.training.staged_module import StagedModule

SIZE, BATCH, SHOWN, DRAWN = (224, 224), 75, 150, 600  # 75: ProtoPNet's published batches
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
WORKERS = 16
AUGMENTATIONS = ("none", "flip", "crop", "protopnet", "pipnet")


@contextmanager
def photographs() -> Iterator[Path]:
    """A folder of JPEGs by class."""
    given = Path(os.environ.get("ZOO_DATA", "")) / "cub50" / "images"
    if given.is_dir():
        yield given
        return
    draw = torch.Generator().manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        for i in range(DRAWN):
            folder = Path(place) / f"class {i % 10}"
            folder.mkdir(exist_ok=True)
            coarse, fine = (torch.rand(1, 3, n, n * 4 // 3, generator=draw) for n in (15, 126))
            pixels = sum(
                share * F.interpolate(noise, (256, 341), mode="bicubic") for share, noise in ((200, coarse), (50, fine))
            )
            image = to_pil_image(pixels[0].clamp(0, 255).to(torch.uint8))  # pyright: ignore[reportIndexIssue]
            image.save(folder / f"{i}.jpg", quality=90)
        yield Path(place)


@contextmanager
def one_thread() -> Iterator[None]:
    """As in a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def core_ms(call: Callable[[Any], Any], items: Sequence[Any], rounds: int = 3) -> float:
    """The least CPU time per item over some rounds, in ms; of a single thread, what else runs does not count."""
    spent = []
    for _ in range(rounds):
        start = time.process_time()
        for item in items:
            call(item)
        spent.append(time.process_time() - start)
    return 1e3 * min(spent) / len(items)


def batch_of(pictures: Pictures, rows: list[int]) -> Tensor:
    return default_collate(pictures.__getitems__(rows))["input"]


def plain(files: Sequence[Path], transform: Callable[[Image.Image], Tensor]) -> Tensor:
    return default_collate([transform(Image.open(file).convert("RGB")) for file in files])


def plain_steps(augment: str) -> v1.Compose:
    """The same augmentation in torchvision's first transforms, which act on images of Pillow."""
    turn = v1.InterpolationMode.BILINEAR
    one = [
        v1.RandomAffine(15, interpolation=turn),
        v1.RandomPerspective(0.2, p=1.0),
        v1.RandomAffine(0, shear=(-10, 10), interpolation=turn),
    ]
    steps = {
        "none": [v1.Resize(SIZE)],
        "crop": [v1.RandomResizedCrop(SIZE, (0.6, 1.0)), v1.RandomHorizontalFlip()],
        "protopnet": [v1.Resize(SIZE), v1.RandomChoice(one), v1.RandomHorizontalFlip()],
    }
    return v1.Compose([*steps[augment], v1.ToTensor(), v1.Normalize(MEAN, STD)])


def against_plain(data: ImageFolder, rows: list[int]) -> Iterator[Case]:
    for augment, what in (
        ("crop", "random part of 60 to 100 %, flip"),
        ("protopnet", "turn, skew or shear, flip"),
        ("none", "no augmentation"),
    ):
        pictures, transform = data.pictures("train", augment), plain_steps(augment)
        files, some = [pictures.sources[i] for i in rows[:BATCH]], rows[:BATCH]
        yield Case(
            f"{BATCH} JPEGs to a batch of 224 pixels on one core, {what}",
            {
                "zoo": lambda pictures=pictures, some=some: batch_of(pictures, some),
                "plain": lambda files=files, transform=transform: plain(files, transform),
            },
            goal=Goal(at_least=1.0),
            # Scaling rounds to whole levels in both, not always to the same: 1 of 255.
            apart=1e-2 if augment == "none" else None,
        )


def stages(data: ImageFolder, rows: list[int]) -> Iterator[Reading]:
    """What a core spends on an image, step by step."""
    pictures = data.pictures("train", "crop")
    domain, augment = pictures.domain, pictures.augment
    files = [pictures.sources[i] for i in rows]
    pixels = [domain.pixels(file) for file in files]
    cut = [augment(p) for p in pixels]
    items = [{"input": domain.preprocess(c), "target": 0} for c in cut]
    batches = [items[i : i + BATCH] for i in range(0, len(items), BATCH)]
    spent = {
        "decoding": core_ms(domain.pixels, files),
        "crop, scale, flip": core_ms(augment, pixels),
        "normalising": core_ms(domain.preprocess, cut),
        "collating": core_ms(default_collate, batches) * len(batches) / len(items),
    }
    for what, ms in spent.items():
        yield Reading(f"{what}, of one image", ms, "ms")
    yield Reading("reading a file's bytes only", core_ms(Path.read_bytes, files), "ms")


def step_of(device: torch.device, batch: int) -> Callable[[Tensor], None]:
    """A training step of a ResNet-34, in bf16 on a GPU."""
    model = resnet34(num_classes=200).to(device).train()
    if device.type == "cuda":
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    target = torch.arange(batch, device=device) % 200

    def step(x: Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = nn.functional.cross_entropy(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def busy(data: ImageFolder, device: torch.device, batches: int = 60, before: int = 10) -> Iterator[Reading]:
    """How busy reading keeps a GPU, with as many workers as there are cores, at most 16."""
    step, x = step_of(device, BATCH), torch.rand(BATCH, 3, *SIZE, device=device)

    def timed(steps: Iterator[Any]) -> float:
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        for given in steps:
            step(x if given is None else given["input"].to(device, non_blocking=True))
        torch.cuda.synchronize(device)
        return time.perf_counter() - start

    timed(iter([None] * before))
    alone = timed(iter([None] * batches)) / batches
    yield Reading(f"training ResNet-34 at 224 pixels in bf16, {BATCH} a batch, input on the device", BATCH / alone,
                  "images/s")  # fmt: skip
    pictures = data.pictures("train", "crop")
    rows = torch.arange(BATCH * (batches + before)).remainder(len(pictures)).tolist()
    workers = min(WORKERS, os.cpu_count() or 1)
    loader = DataLoader(Subset(pictures, rows), BATCH, num_workers=workers, pin_memory=True, prefetch_factor=4)
    given = iter(loader)
    timed(next(given) for _ in range(before))
    whole = timed(given) / batches
    yield Reading(f"the same from JPEG files, {workers} workers", BATCH / whole, "images/s")
    yield Reading(
        f"the GPU is busy, {workers} workers", 100 * min(1.0, alone / whole), "%", Goal(at_least=90),
        missed="the workers make fewer images than the GPU takes",
    )  # fmt: skip
    ready = torch.rand(BATCH, 3, *SIZE)
    for name, batch in (("pinned", ready.pin_memory()), ("pageable", ready)):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        for _ in range(20):
            batch.to(device, non_blocking=True)
        torch.cuda.synchronize(device)
        yield Reading(f"copying to the device, {name}, of one image", (time.perf_counter() - start) * 50 / BATCH, "ms")


def cached(device: torch.device, root: Path, count: int = 200, side: int = 128) -> Iterator[Case | Reading]:
    """Epochs of a head on a frozen backbone, whose maps are read from the cache or made anew."""
    data = ImageFolder(
        str(root), size=(side, side), mean=MEAN, std=STD, augment="flip", batch_size=50, val_fraction=0.1
    )
    data._rows = data._rows[0][:: len(data._rows[0]) // count][:count], data._rows[1][:10]  # pyright: ignore
    model = zoo.create_model(
        "protopnet",
        domain=data.domain,
        backbone={"name": "mobilenetv2_100", "pretrained": False},
        prototypes_per_class=2,
        dim=64,
        recipe={"stages": [{"name": "warm", "epochs": 1, "train": ["addon", "prototypes"]}, {"name": "push"},
                {"name": "last", "epochs": 1, "train": ["head"]}]},
    ).to(device)  # fmt: skip
    model.backbone.eval().requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-3)

    def epoch(loader: DataLoader, model: StagedModule = model) -> None:
        for batch in loader:
            batch = {name: value.to(device) for name, value in batch.items()}
            terms = model.losses(*model.step(batch["input"]), batch)
            optimizer.zero_grad()
            torch.stack([model.coefficients[name] * term for name, term in terms.items()]).sum().backward()
            optimizer.step()

    with tempfile.TemporaryDirectory() as place:
        start = time.perf_counter()
        kept = CachedFeatures(data, model, Path(place)).train_dataloader()
        making = time.perf_counter() - start
        start = time.perf_counter()
        epoch(data.train_dataloader())
        yield Reading("computing the cache of both views, relative to an epoch without cache",
                      making / (time.perf_counter() - start), "x")  # fmt: skip
        yield Case(
            f"an epoch of a ProtoPNet on frozen MobileNetV2, {count} images of {side} pixels, flips",
            {"zoo": lambda: epoch(kept), "without cached features": lambda: epoch(data.train_dataloader())},
            goal=Goal(at_least=10),
            apart=None,
        )


def cases(device: torch.device) -> Iterator[Case | Reading]:
    with photographs() as root:
        data = ImageFolder(str(root), size=SIZE, mean=MEAN, std=STD)
        count = len(data.pictures("train", "none"))
        rows = list(range(0, count, max(1, count // SHOWN)))[:SHOWN]
        if device.type == "cuda":
            yield from busy(data, device)
            yield from cached(device, root)
            return
        with one_thread():
            yield from against_plain(data, rows)
            yield from stages(data, rows)
            speeds = {}
            for augment in AUGMENTATIONS:
                pictures = data.pictures("train", augment)
                batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
                per_batch = core_ms(lambda some, pictures=pictures: batch_of(pictures, some), batches)
                speeds[augment] = 1e3 * len(rows) / len(batches) / per_batch
                yield Reading(f"images read by one core, augment: {augment}", speeds[augment], "images/s")
            yield Reading("cores needed for 1,000 images/s, augment: crop", 1000 / speeds["crop"], "cores")
            step, x = step_of(device, 4), torch.rand(4, 3, *SIZE)
            step(x)
            training = 4e3 / core_ms(step, [x], 2)
            yield Reading("ResNet-34 at 224 pixels trained by one core", training, "images/s")
            yield Reading("fraction of a core needed for reading", 100 * training / speeds["crop"], "%")
        yield from cached(device, root)
