"""Accuracy of recipes on the first 50 classes of CUB-200-2011 over three seeds: `python -m benchmarks.recipes`.

Maps of the images and of their mirror images are computed once by a frozen MobileNetV2 trained on ImageNet, which has
seen fewer birds than the backbone of the configs. Then each config is trained on the maps, without its teacher and
without pictures of its prototypes: for each seed with 5 % of the training images held out, and tested on the official
test images; and for each seed with 20 % held out, to compare recipes without the test images.

Writes the table benchmarks/RECIPES.md, and all measurements, benchmarks/RECIPES.json. Trainings that are in that file
are not repeated: an interrupted command resumes, and `--again NAME` repeats those of one recipe.
"""

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer, seed_everything
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from zoo.cli.settings import Settings, read_settings
from zoo.data import CUB
from zoo.data.base.items import Items
from zoo.data.base.module import DataModule
from zoo.domain import Domain
from zoo.networks.image_backbones import Backbone, create_backbone
from zoo.training.staged_module import StagedModule
from zoo.utils.atomic import write_text

HERE = Path(__file__).parent
RECORD = HERE / "RECIPES.json"
IMAGENET = ("--model.init_args.backbone.weights", "$ZOO_DATA/weights/timm_mobilenetv2_100_in1k_tf2_ptq.safetensors")
RECIPES = {
    "LEN": "concepts/len_cub50",
    "CBM, sequential": "concepts/cbm_sequential_cub50",
    "CBM, joint, logits": "concepts/cbm_joint_logit_cub50",
    "PIP-Net": "prototypes/pipnet_cub50",
    "ProtoS-ViT's head": "prototypes/protosvit_cub50",
}
SEEDS = (0, 1, 2)
HELD_OUT = {"test": 0.05, "validation": 0.2}  # what is measured, and the share of the training images held out
PICTURES = ("gallery",)  # actions that need the images themselves


class Maps(Items):
    """Maps of images in place of the images.

    Args:
        maps: (N, V, D, h, w) in half precision, of the images and, if V is 2, of their mirror images.
        items: the images' targets and concepts.
        views: 0: the image, 1: the image or its mirror image, drawn; 2: both, as "input" and "view".
    """

    def __init__(self, maps: Tensor, items: Items, views: int = 0) -> None:
        self.maps, self.targets, self.concepts, self.views = maps, items.targets, items.concepts, views

    def __getitem__(self, i: int) -> dict[str, Any]:
        view = int(torch.randint(2, (1,))) if self.views == 1 else 0
        item = {"input": self.maps[i, view].float(), "target": int(self.targets[i])}
        if self.views == 2:
            item |= {"view": self.maps[i, 1].float(), "mirrored": True}
        return item if self.concepts is None else item | {"concepts": self.concepts[i]}

    def name(self, i: int) -> str:
        """Name of item i."""
        return str(i)


class MapData(DataModule):
    """The data of a config, with maps in place of images.

    Args:
        maps: by official split, see `Maps`.
        images: the data of the config.
        held_out: share of the training images.
        seed: of the split.
    """

    def __init__(self, maps: dict[str, Tensor], images: CUB, held_out: float, seed: int) -> None:
        super().__init__(images.batch_size, seed=seed, val_fraction=held_out)
        self.maps, self.images = maps, images

    def make_domain(self) -> Domain:
        return Domain.from_dict(self.images.domain)

    def items(self, split: str, training: bool) -> Maps:
        views = {"none": 0, "flip": 1, "mirror": 2}[self.images.augment] if training else 0
        return Maps(self.maps[{"train": "train", "test": "test"}[split]], self.images.items(split, False), views)


class Skipped(nn.Module):
    """A frozen network whose inputs are its outputs already."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network  # its parameters are still a group of the model

    def forward(self, x: Tensor) -> Tensor:
        return x


@torch.no_grad()
def maps_of(settings: Settings, cached: Path) -> dict[str, Tensor]:
    """Maps of all images by split, those of the training images with their mirror images; computed once."""
    if cached.is_file():
        return load_file(cached)
    given = settings.require("model").to_dict()["backbone"]
    backbone, images = create_backbone(given, 3).eval(), settings.require("data").build()
    found: dict[str, Tensor] = {}
    for split, views in (("train", 2), ("test", 1)):
        items, parts = images.items(split, False), []
        for rows in tqdm(torch.arange(len(items)).split(32), f"maps of {split}"):
            x = torch.stack([items[i]["input"] for i in rows.tolist()])
            parts.append(torch.stack([backbone(v).half() for v in (x, x.flip(3))[:views]], 1))
        found[split] = torch.cat(parts)
    save_file(found, cached)
    return found


def measure(settings: Settings, maps: dict[str, Tensor], what: str, seed: int) -> dict[str, float]:
    """Trains a config, and measures its accuracy on the test images, or on the images held out.

    Args:
        settings: of the config.
        maps: see `maps_of`.
        what: a key of HELD_OUT.
        seed: of the training; of the images held out only for "validation", as in the shipped checkpoints.
    """
    seed_everything(seed, workers=True, verbose=False)
    images = settings.require("data").build()
    data = MapData(maps, images, HELD_OUT[what], seed if what == "validation" else images.seed)
    model: StagedModule = settings.require("model").build(domain=Domain.from_dict(data.domain))
    for module in model.modules():
        if isinstance(module, Backbone):
            module.network = Skipped(module.network)
    model.stages = tuple(stage for stage in model.stages if stage.name not in PICTURES)
    model.recipe = replace(model.recipe, teacher=None)  # the black box of the configs has another backbone
    trainer = Trainer(
        max_epochs=model.max_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=model.max_epochs,
    )
    start = time.perf_counter()
    trainer.fit(model, datamodule=data)
    seconds = time.perf_counter() - start
    if what == "test":
        trainer.test(model, datamodule=data, verbose=False)
    prefix = {"test": "test/", "validation": "val/"}[what]
    found = {k.removeprefix(prefix): float(v) for k, v in trainer.callback_metrics.items() if k.startswith(prefix)}
    return {k: found[k] for k in ("accuracy", "formula_f1") if k in found} | {"seconds": round(seconds)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES), metavar="NAME")
    parser.add_argument("--what", nargs="+", choices=HELD_OUT, default=list(HELD_OUT), help="default: both")
    parser.add_argument("--again", nargs="+", choices=RECIPES, default=[], metavar="NAME", help="train these anew")
    parser.add_argument("--cache", default=Path(tempfile.gettempdir()) / "zoo_cub_maps.safetensors", type=Path)
    options = parser.parse_args()
    if "ZOO_DATA" not in os.environ:
        print("set ZOO_DATA to the folder that holds cub50 and weights.", file=sys.stderr)
        return 2
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    record = {title: runs for title, runs in record.items() if title not in options.again}
    maps: dict[str, Tensor] = {}
    for title in options.only:
        config = HERE.parent / "configs" / f"{RECIPES[title]}.yaml"
        settings = read_settings(["--config", str(config), *IMAGENET], "fit")
        for what in options.what:
            for seed in SEEDS:
                runs = record.setdefault(title, {}).setdefault(what, {})
                if str(seed) in runs:
                    continue
                maps = maps or maps_of(settings, options.cache)
                runs[str(seed)] = measure(settings, maps, what, seed)
                print(f"{title}, {what}, seed {seed}: {runs[str(seed)]}", flush=True)
                write_text(RECORD, json.dumps(record, indent=1) + "\n")
    text = page(record)
    (HERE / "RECIPES.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


def page(record: dict[str, dict[str, dict[str, dict[str, float]]]]) -> str:
    """The table as Markdown."""
    lines = ["| recipe | config | test | validation | seconds |", "|---|---|---|---|---|"]
    for title, config in RECIPES.items():
        runs = {what: list(record.get(title, {}).get(what, {}).values()) for what in HELD_OUT}
        cells = [spread([100 * run["accuracy"] for run in found]) + missing(found) for found in runs.values()]
        seconds = [run["seconds"] for run in runs["test"]]
        cells.append(f"{statistics.median(seconds):.0f}" if seconds else "-")
        lines.append(f"| {title} | [{Path(config).name}](../configs/{config}.yaml) | {' | '.join(cells)} |")
    formulas = [run["formula_f1"] for run in record.get("LEN", {}).get("test", {}).values()]
    notes = (
        "Accuracy in %, mean and standard deviation over the seeds 0, 1 and 2. *Test*: the official test images; 5 % "
        "of the training images are held out, as in the shipped checkpoints. *Validation*: 20 % of the training images "
        "are held out, others for each seed, and measured. *Seconds*: of one training, without computing the maps. "
        f"Mean F1 of LEN's formulas on the test images: {spread(formulas, 2)}."
    )
    about = (__doc__ or "").strip().split("\n\n")[1]
    parts = ["# Recipes on CUB-50", about, notes, "\n".join(lines), "Created by `python -m benchmarks.recipes`."]
    return "\n\n".join(parts) + "\n"


def missing(runs: list[dict[str, float]]) -> str:
    """How many seeds were measured, if not all."""
    return "" if len(runs) in (0, len(SEEDS)) else f" ({len(runs)} of {len(SEEDS)} seeds)"


def spread(values: list[float], digits: int = 1) -> str:
    """Mean and standard deviation; "-" without values."""
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


if __name__ == "__main__":
    sys.exit(main())
