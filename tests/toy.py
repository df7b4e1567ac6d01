"""Separable toy images, and a quiet Trainer: what tests train on."""

from collections.abc import Sequence

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.domain import ImageDomain

COLOURS = ImageDomain(classes=("red", "green", "blue"), size=(12, 12), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)


class ColouredSquares(Dataset):
    """Grey noise with a 5 x 5 square somewhere, whose colour is the class."""

    def __init__(self, count: int, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.targets = torch.arange(count) % 3
        pictures = torch.randint(90, 130, (count, 1, 12, 12), generator=draw).repeat(1, 3, 1, 1)
        self.corners = torch.randint(0, 8, (count, 2), generator=draw)
        for picture, (top, left), colour in zip(pictures, self.corners.tolist(), self.targets.tolist(), strict=True):
            picture[:, top : top + 5, left : left + 5] = 20
            picture[colour, top : top + 5, left : left + 5] = 240
        self.pictures = pictures.to(torch.uint8)
        self.inputs = COLOURS.normalise(self.pictures)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input": self.inputs[i], "target": self.targets[i]}

    def name(self, i: int) -> str:
        return f"{COLOURS.classes[int(self.targets[i])]}/{i}.png"


class ToyData(LightningDataModule):
    """Coloured squares, in order, in batches of 16."""

    def __init__(self, count: int = 96) -> None:
        super().__init__()
        self.train, self.val = ColouredSquares(count), ColouredSquares(48, seed=1)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, 16)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val, 16)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.val, 16)

    def projection_dataset(self) -> Dataset:
        return self.train


def fit(model: LightningModule, data: LightningDataModule, callbacks: Sequence[Callback] = ()) -> Trainer:
    """Trains a model through its whole recipe, without logs or files."""
    trainer = Trainer(
        max_epochs=model.max_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(model, datamodule=data)
    return trainer
