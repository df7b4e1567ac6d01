"""Features of a frozen backbone, computed once: what is trained on top then learns many times faster."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from zoo.data.base.module import DataModule
from zoo.data.base.sampling import EpochSampler
from zoo.networks.image_backbones import Backbone
from zoo.training.modes import evaluating
from zoo.training.staged_module import StagedModule

VIEWS = {"none": 1, "flip": 2}  # augmentations of which every view can be kept: the image, and its mirror image


class CachedFeatures(LightningDataModule):
    """Stands in for a data module of images while a model with a frozen backbone is fitted.

    Training and validation batches hold the backbone's maps instead of images, in half precision, in a file that is
    gone with the run; actions such as push, and the final test, see the images themselves. Memory does not grow with
    the data set. Of data that gives two views of each image, one pair is drawn and kept, under "input" and "view".

    Args:
        data: what to read images from; augmented by "flip" or not at all, unless it gives two views.
        model: with a backbone that no stage of its recipe trains.
        folder: for the file.

    Raises:
        ValueError: another augmentation, or a recipe that trains the backbone.
    """

    def __init__(self, data: DataModule, model: StagedModule, folder: Path) -> None:
        super().__init__()
        augment = getattr(data, "augment", None)
        self.paired = getattr(data, "views", 1) == 2
        if augment not in VIEWS and not self.paired:
            raise ValueError(
                f"cache_features keeps every view of an image, so it needs augment 'none' or 'flip'; got {augment!r}. "
                "Change data.init_args.augment, or leave cache_features out."
            )
        learning = [s.name for s in model.stages if "backbone" in s.trained]
        found = [m for m in model.groups().get("backbone", torch.nn.Module()).modules() if isinstance(m, Backbone)]  # pyright: ignore
        if learning or len(found) != 1:
            raise ValueError(
                f"cache_features needs one image backbone that stays frozen; {len(found)} found, and it learns in "
                f"{', '.join(learning) or 'no stage'}. Leave cache_features out, or 'backbone' out of 'train'."
            )
        self.data, self.backbone, self.folder, self.views = data, found[0], folder, VIEWS.get(augment, 1)
        self.parts: dict[str, Maps] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "data" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.__dict__["data"], name)  # domain, projection_dataset, concept_labels, ...

    def prepare_data(self) -> None:
        self.data.prepare_data()

    def train_dataloader(self) -> DataLoader:
        images = self.data.train_dataset() if self.paired else self.data.projection_dataset()
        with torch.random.fork_rng(devices=[]):  # a run that is continued draws the same pairs
            torch.manual_seed(self.data.seed)
            part = self._part("train", images, self.views)
        generator = torch.Generator().manual_seed(self.data.seed)
        sampler = EpochSampler(part, generator, self.data.seed)
        sampler.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed if self.trainer else 0)
        size = self.data.batch_size
        return DataLoader(part, size, sampler=sampler, generator=generator, drop_last=len(sampler) % size == 1)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self._part("val", self.data.val_dataset(), 1), self.data.batch_size)

    def test_dataloader(self) -> DataLoader:
        return self.data.test_dataloader()

    def _part(self, split: str, images: Dataset, views: int) -> "Maps":
        if split not in self.parts:
            loader = DataLoader(images, self.data.batch_size, num_workers=self.data.workers)
            self.parts[split] = Maps(loader, self.backbone, views, self.folder, f"features ({split})")
        return self.parts[split]


class Maps(Dataset):
    """Maps (V, C, h, w) of every image in half precision in a file, one view of them drawn at a time.

    Where the batches have a "view", the two maps are given together.

    Args:
        loader: of the images, in order.
        backbone: makes the maps.
        views: V; 2 for the image and its mirror image.
        folder: for the file.
        title: of the progress bar.
    """

    def __init__(self, loader: DataLoader, backbone: Backbone, views: int, folder: Path, title: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        count = len(loader.dataset)  # pyright: ignore[reportArgumentType]
        self.rest: list[dict[str, Any]] = []
        self.maps: np.ndarray | None = None
        self.paired = False
        # A file without a name: the system drops it with the last process that reads it.
        with tempfile.TemporaryFile(dir=folder) as file, torch.no_grad(), evaluating(backbone):
            for batch in tqdm(loader, title, leave=False):
                device, x = next(backbone.parameters()).device, batch.pop("input")
                self.paired = "view" in batch
                seen = (x, batch.pop("view")) if self.paired else (x, x.flip(-1))[:views]
                made = torch.stack([backbone(v.to(device)).half() for v in seen], 1).cpu().numpy()
                if self.maps is None:
                    self.maps = np.memmap(file, np.float16, "w+", shape=(count, *made.shape[1:]))
                start = len(self.rest)
                self.maps[start : start + len(made)] = made
                self.rest += [{k: v[i] for k, v in batch.items()} for i in range(len(made))]

    def __len__(self) -> int:
        return len(self.rest)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """A whole batch, read and widened at once."""
        count = self.maps.shape[1]  # pyright: ignore[reportOptionalMemberAccess]
        if self.paired or count == 1:
            read = self.maps[indices]  # pyright: ignore[reportOptionalSubscript]
        else:
            view = torch.cat([torch.randint(count, (1,)) for _ in indices]).numpy()
            read = self.maps[indices, view][:, None]  # pyright: ignore[reportOptionalSubscript]
        maps = torch.from_numpy(read).float()
        names = ("input", "view") if self.paired else ("input",)
        return [dict(zip(names, views, strict=True)) | self.rest[i] for i, views in zip(indices, maps, strict=True)]
