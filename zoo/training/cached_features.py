"""Features of a frozen backbone, computed once and kept in a file, so that what is trained on top trains faster."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from zoo.data.base.images import ImageData
from zoo.data.base.text import TextData
from zoo.domain.text import PAD
from zoo.networks.base import Features, StateEncoder
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.networks.image_backbones import Backbone
from zoo.training.modes import evaluating
from zoo.training.projection_set import size_of
from zoo.training.staged_module import StagedModule
from zoo.utils.collate import collate
from zoo.utils.progress import track

VIEWS = {"none": 1, "flip": 2}  # augmentations of which every view can be kept: the image, and its mirror image
INPUTS = ("input", "view")  # keys of a batch that hold images
MARKS = ("relevant", "regions")  # keys that hold pixels in {0, 1, NaN}
UNKNOWN = 2  # the byte for NaN
IMAGES = 4  # axes of a batch of images


class CachedFeatures(LightningDataModule):
    """Training and validation batches of features in place of inputs, for a model with a frozen backbone.

    Before the first epoch, the backbone's maps of all images, or the encoder's vectors of all texts, are written to a
    file in half precision, and masks of pixels to another, a byte for each, so memory does not grow with the data set;
    the files are removed with the run. For a model with `caches_states` the file holds the state of each token, of
    which a batch reads as many as its longest text has. Batches of features have the type `Features`, which the
    backbone returns as they are. Actions such as push, and the final test, read the inputs themselves. For data with
    two views of each image, one pair is drawn and kept.

    Args:
        data: images, augmented by "flip" or not at all, unless it gives two views; or texts.
        model: with one backbone that no stage of its recipe trains; it reads texts as vectors alone, or, with the
            attribute `caches_states`, as states (B, T, d) that are 0 where there is padding.
        folder: of the temporary file.

    Attributes:
        data: the images or texts.
        backbone: the frozen backbone.

    Raises:
        ValueError: another augmentation, other data, or a recipe that trains the backbone.
    """

    caches_features = True

    def __init__(self, data: LightningDataModule, model: StagedModule, folder: Path) -> None:
        super().__init__()
        if not isinstance(data, ImageData | TextData):
            raise ValueError(
                f"cache_features keeps features of images and texts, and {type(data).__name__} has none; leave "
                "cache_features out."
            )
        if isinstance(data, ImageData) and data.augment not in VIEWS and data.views != 2:
            raise ValueError(
                "cache_features keeps every view of an image, so it needs augment 'none' or 'flip'; got "
                f"{data.augment!r}. Change data.init_args.augment, or leave cache_features out."
            )
        if isinstance(data, ImageData) and data.concept_crops:
            raise ValueError(
                "cache_features keeps whole images, and concept_crops crops them anew in every epoch. Set "
                "data.init_args.concept_crops to 0, or leave cache_features out."
            )
        learning = [s.name for s in model.stages if "backbone" in s.trained]
        group = model.groups().get("backbone")
        modules = group.modules() if isinstance(group, nn.Module) else ()
        found: list[Backbone | StateEncoder] = [module for module in modules if isinstance(module, Backbone)]
        self.of_tokens = isinstance(data, TextData) and getattr(model, "caches_states", False)
        if isinstance(group, StateEncoder if self.of_tokens else HuggingFaceText):
            found = [group]  # a model that masks words has it inside of another module
        if learning or len(found) != 1:
            raise ValueError(
                f"cache_features needs one pretrained backbone that stays frozen; {len(found)} found, and it learns in "
                f"{', '.join(learning) or 'no stage'}. Leave cache_features out, or 'backbone' out of 'train'."
            )
        self.data, self.backbone, self.folder = data, found[0], folder
        self.parts: dict[str, MapDataset] = {}

    @property
    def domain(self) -> dict[str, Any]:
        """The meaning of inputs and outputs, as plain data."""
        return self.data.domain

    def prepare_data(self) -> None:
        self.data.prepare_data()

    def projection_dataset(self) -> Dataset:
        """The training images in fixed order, not augmented."""
        return self.data.projection_dataset()

    def val_dataset(self) -> Dataset:
        """The validation images."""
        return self.data.val_dataset()

    def test_dataset(self) -> Dataset:
        """The test images."""
        return self.data.test_dataset()

    def loss_weights(self) -> Tensor | None:
        """Weights (C,) of the classes in the loss, see `DataModule`."""
        return self.data.loss_weights()

    def concept_labels(self) -> Tensor:
        """The concepts (N, k) of the training images in {0, 1, NaN}.

        Raises:
            ValueError: this data has no annotated concepts.
        """
        return self.data.concept_labels()

    def train_dataloader(self) -> DataLoader:
        data = self.data
        paired = isinstance(data, ImageData) and data.views == 2
        kept = VIEWS[data.augment] if isinstance(data, ImageData) and not paired else 1
        with torch.random.fork_rng(devices=[]):  # a resumed run draws the same pairs
            torch.manual_seed(data.seed)
            part = self._part(
                "train",
                data.train_dataset() if paired else data.projection_dataset(),
                kept,
            )
        generator = torch.Generator().manual_seed(data.seed)
        sampler = data.make_sampler(part, generator)
        sampler.set_epoch(self.trainer.current_epoch if self.trainer else 0)
        drop_last = len(sampler) % data.batch_size == 1  # batch norm is undefined for a single value
        return DataLoader(part, data.batch_size, sampler=sampler, generator=generator, drop_last=drop_last)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self._part("val", self.data.val_dataset(), 1), self.data.batch_size)

    def test_dataloader(self) -> DataLoader:
        return self.data.test_dataloader()

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Marks the inputs of training and validation batches as feature maps."""
        if self.trainer is not None and self.trainer.testing:
            return batch
        return batch | {key: batch[key].as_subclass(Features) for key in INPUTS if key in batch}

    def _part(self, split: str, images: Dataset, views: int) -> "MapDataset":
        if split not in self.parts:
            loader = DataLoader(images, self.data.batch_size, num_workers=self.data.workers, collate_fn=collate)
            title = f"features ({split})"
            self.parts[split] = MapDataset(loader, self.backbone, views, self.folder, title, self.of_tokens)
        return self.parts[split]


class MapDataset(Dataset):
    """Feature maps (C, h, w) of images, read from a file; a random view of each image where several are kept.

    Images that come with a "view" keep the maps of both, under "input" and "view". Of texts it holds vectors (C,), or
    the states (T, C) of tokens, 0 for padding, of which nothing is written to the file; T is that of the longest text
    of a batch.

    Args:
        loader: batches of the images, in order.
        backbone: computes the features.
        views: views kept of each image; 2 for the image and its mirror image.
        folder: of the temporary file.
        title: of the progress bar.
        of_tokens: keep states of tokens.

    Raises:
        ValueError: the loader has no images.
    """

    def __init__(
        self,
        loader: DataLoader,
        backbone: nn.Module,
        views: int,
        folder: Path,
        title: str,
        of_tokens: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        device = next(iter(backbone.state_dict().values())).device
        self.rest: list[dict[str, Any]] = []  # what items hold besides images
        self.paired, lengths = False, []
        compute = partial(token_states, backbone) if of_tokens else backbone
        maps, self.marks = None, dict[str, Marks]()
        # A file without a name: the system removes it with the last process that reads it.
        with tempfile.TemporaryFile(dir=folder) as file, torch.no_grad(), evaluating(backbone):
            for batch in track(loader, title):
                x = batch.pop("input")
                self.paired = "view" in batch
                seen = (x, batch.pop("view")) if self.paired else (x, x.flip(-1))[:views]
                made = torch.stack([compute(v.to(device)).half() for v in seen], 1).cpu().numpy()  # (B, V, C, h, w)
                if maps is None:
                    maps = np.memmap(file, np.float16, "w+", shape=(size_of(loader.dataset), *made.shape[1:]))
                start = len(self.rest)
                if of_tokens:
                    lengths += (x != PAD).sum(1).tolist()
                    longest = max(lengths[start:])
                    maps[start : start + len(made), :, :longest] = made[:, :, :longest]
                else:
                    maps[start : start + len(made)] = made
                for name in (name for name in MARKS if x.ndim == IMAGES and name in batch):
                    marks = batch.pop(name)
                    if name not in self.marks:
                        self.marks[name] = Marks(folder, (len(maps), *marks.shape[1:]))
                    self.marks[name].put(start, marks)
                self.rest += [{k: v[i] for k, v in batch.items()} for i in range(len(made))]
        if maps is None:
            raise ValueError(f"{title}: there are no images to compute features of.")
        self.maps, self.lengths = maps, np.array(lengths)  # (N, V, C, h, w), or (N, 1, T, C) and (N,)

    def __len__(self) -> int:
        return len(self.rest)

    @property
    def targets(self) -> Tensor:
        """(N,) targets of the images."""
        return torch.stack([item["target"] for item in self.rest])

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """Items of a batch, read from the file and converted at once."""
        count, mirrored = self.maps.shape[1], [0] * len(indices)
        if len(self.lengths):
            read = self.maps[indices, :, : max(self.lengths[indices].max(), 1)]
        elif self.paired or count == 1:
            read = self.maps[indices]
        else:
            view = torch.cat([torch.randint(count, (1,)) for _ in indices]).numpy()
            read, mirrored = self.maps[indices, view][:, None], view.tolist()
        maps = torch.from_numpy(read).float()
        names = INPUTS if self.paired else INPUTS[:1]
        items = [dict(zip(names, views, strict=True)) | self.rest[i] for i, views in zip(indices, maps, strict=True)]
        for name, marks in self.marks.items():
            for item, mark in zip(items, marks.of(indices), strict=True):
                item[name] = mark
        for item, flipped in zip(items, mirrored, strict=True):
            for name in self.marks if flipped else ():  # marks lie on the view
                item[name] = item[name].flip(-1)
        return items


class Marks:
    """Pixels in {0, 1, NaN} of all images, in a temporary file.

    Args:
        folder: of the file.
        shape: number of images, and the shape of the pixels of one.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        with tempfile.TemporaryFile(dir=folder) as file:
            self.bytes = np.memmap(file, np.uint8, "w+", shape=shape)

    def put(self, start: int, marks: Tensor) -> None:
        """Writes the pixels of images from number `start` on."""
        self.bytes[start : start + len(marks)] = marks.nan_to_num(UNKNOWN).byte().cpu().numpy()

    def of(self, rows: list[int]) -> Tensor:
        """The pixels (n, ...) of images, float."""
        found = torch.from_numpy(self.bytes[rows]).float()
        return found.masked_fill_(found == UNKNOWN, torch.nan)


def token_states(encoder: nn.Module, x: Tensor) -> Tensor:
    """The state of each token of texts (B, T), 0 for padding: (B, T, C)."""
    assert isinstance(encoder, StateEncoder)  # what CachedFeatures found
    return encoder.states(x) * (x != PAD)[..., None]
