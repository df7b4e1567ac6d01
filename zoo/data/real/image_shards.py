"""Images in shards: a data set of any size in a few large files, on the disk or in object storage."""

import json
from collections.abc import Iterator
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as F

from zoo.data.base.images import ImageData, Pictures
from zoo.data.base.items import Part
from zoo.data.base.sampling import EpochSampler
from zoo.data.base.splits import SPLITS
from zoo.data.base.streams import Column, ShardSampler, Stream, write_stream
from zoo.domain import Domain, ImageDomain
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json
from zoo.utils.paths import expand, read_text
from zoo.utils.progress import track

ABOUT, LABELS = "shards.json", "labels.safetensors"


def _contents(pictures: Pictures) -> Iterator[dict[str, bytes | str]]:
    for i in range(len(pictures)):
        source = pictures.sources[i]
        if isinstance(source, Path) and pictures.boxes is None:
            content = source.read_bytes()
        else:
            picture, file = pictures.picture(i), BytesIO()
            (F.to_pil_image(picture) if isinstance(picture, Tensor) else picture).save(file, "PNG")
            content = file.getvalue()
        yield {"image": content, "name": pictures.name(i)}


class ImageShards(ImageData):
    """Images in shards that `zoo.data.ImageShards.write` wrote, trained on as from their folder.

    Items are read by number, so that in each epoch, and when prototypes are projected, every image is seen exactly
    once, whatever the number of processes and workers. Labels are in memory; images are read when they are needed.

    Args:
        root: folder with shards.json, and with labels and index of each split.
        remote: where the shards are if not in `root`: an address such as "s3://bucket/images", or "local:/mnt/images"
            for a slow disk, with the splits below it.
        cache: folder for remote shards; by default that of litdata.
        cache_size: of remote shards on the disk, such as "100GB"; by default three quarters of what is free.
        order: of the training items in an epoch: "items" shuffles all, as for images in files; "shards" shuffles the
            shards and mixes the items of `window` of them, for remote shards and disks that are slow at random reads.
        window: see `order`.
        **loading: the options of `ImageData`.

    Raises:
        FileNotFoundError: there are no shards.
        ValueError: an argument is out of range, or the shards are not those of `write_image_shards`.
        ImportError: litdata is not installed.
    """

    def __init__(
        self,
        root: str,
        remote: str | None = None,
        cache: str | None = None,
        cache_size: str | None = None,
        order: str = "items",
        window: int = 8,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        if order not in ("items", "shards") or window < 1:
            raise ValueError(f"expected order 'items' or 'shards' and window >= 1; got {order!r} and {window}.")
        if order == "shards" and self.sampling == "balanced":
            raise ValueError("sampling 'balanced' draws from all items; use it with order 'items'.")
        self.root, self.remote, self.cache = expand(root), remote, None if cache is None else expand(cache)
        self.cache_size, self.order, self.window = cache_size, order, window

    @staticmethod
    def write(data: ImageData, folder: str | Path, shard_size: str = "64MB") -> Path:
        """Writes the images of a data module to shards, which this class reads as the same data.

        Files keep their content; pictures in memory are written as PNG.

        Args:
            data: such as `ImageFolder`; its splits, targets, concepts and preprocessing are kept.
            folder: to be made.
            shard_size: of a file, such as "64MB".

        Raises:
            FileExistsError: the folder holds shards already.
            ImportError: litdata is not installed (`pip install "self-interpretable-zoo[stream]"`).
        """
        folder = Path(folder)
        data.prepare_data()
        if (folder / ABOUT).exists():
            raise FileExistsError(f"{folder} holds shards already; choose another folder.")
        names = []
        for split in SPLITS:
            try:
                pictures = data.pictures(split, "none")
            except KeyError:
                continue
            names.append(split)
            (folder / split).mkdir(parents=True, exist_ok=True)
            write_stream(track(_contents(pictures), f"shards of {split}", len(pictures)), folder / split, shard_size)
            labels = {"targets": pictures.targets, "concepts": pictures.concepts, "visible": pictures.visible}
            save_file({k: v.contiguous() for k, v in labels.items() if v is not None}, folder / split / LABELS)
        about = {"format": 1, "splits": names, "domain": data.domain}
        write_text(folder / ABOUT, to_json(about, indent=1) + "\n")  # last: without it, the folder is not complete
        return folder

    @cached_property
    def _about(self) -> dict[str, Any]:
        path = self.root / ABOUT
        about = json.loads(read_text(path, "shards"))
        if not isinstance(about, dict) or about.get("format") != 1 or "train" not in about.get("splits", ()):
            raise ValueError(f"{path} was not written by this version of `zoo.data.ImageShards.write`.")
        return about

    def make_domain(self) -> ImageDomain:
        domain = Domain.from_dict(self._about["domain"])
        if not isinstance(domain, ImageDomain):
            raise ValueError(f"{self.root / ABOUT} describes {domain.noun}, not images.")
        return domain

    def pictures(self, split: str, augment: str) -> Pictures:
        stream, labels = self._splits[split]
        return Pictures(
            Column(stream, "image"),
            labels["targets"],
            self.make_domain(),
            Column(stream, "name"),
            augment=augment,
            concepts=labels.get("concepts"),
            visible=labels.get("visible"),
            digest=stream.digest,
        )

    @cached_property
    def _splits(self) -> dict[str, tuple[Stream, dict[str, Tensor]]]:
        found = {}
        for split in self._about["splits"]:
            remote = None if self.remote is None else f"{self.remote.rstrip('/')}/{split}"
            cache = None if self.cache is None else self.cache / split
            stream = Stream(self.root / split, remote, cache, self.cache_size)
            try:
                labels = load_file(self.root / split / LABELS)
            except SafetensorError as error:
                raise ValueError(f"{self.root / split / LABELS} is damaged ({error}).") from error
            if len(labels.get("targets", ())) != len(stream):
                raise ValueError(
                    f"{self.root / split} has {len(stream)} images and {len(labels.get('targets', ()))} labels; write "
                    "the shards again."
                )
            found[split] = (stream, labels)
        return found

    def make_sampler(self, dataset: Dataset, generator: torch.Generator) -> EpochSampler:
        if self.order == "items":
            return super().make_sampler(dataset, generator)
        sizes = torch.tensor(self._splits["train"][0].sizes)
        shards = torch.arange(len(sizes)).repeat_interleave(sizes)
        if isinstance(dataset, Part):
            shards = shards[dataset.indices]
        return ShardSampler(dataset, generator, self.seed, shards, self.window)
