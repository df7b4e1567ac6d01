"""Do selectors find the evidence, and do their selections encode the answer? `python -m benchmarks.selectors`.

For each world and seed, trains selectors and a black box with `train.py fit`, and measures them on the test rows: what
they select beside what determines the label, and the tests of `train.py evaluate --selection`. The black box is
explained by integrated gradients and, up to 256 elements, by occlusion, texts by occlusion of words. Finished runs and
measurements are kept: an interrupted command resumes. Writes benchmarks/SELECTORS.md and .json.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

import zoo
from benchmarks.runs import Record, read, trained
from benchmarks.selectors_page import page
from zoo.cli.checkpoint_data import data_of
from zoo.data.base.module import DataModule
from zoo.domain.text import PAD, UNKNOWN
from zoo.metrics.faithfulness.posthoc_methods import IntegratedGradients, Occlusion
from zoo.metrics.faithfulness.recovery import average_precision
from zoo.metrics.selection.report import selection_report
from zoo.training.batch import as_batch
from zoo.training.black_box import BlackBox
from zoo.training.black_box_file import FILE, load_network
from zoo.utils.collate import collate

TABLES = ("syn1", "syn2", "syn3", "syn4", "syn5", "syn6", "switch")
SERIES = {  # config endings
    "freq_shapes": "freqshapes",
    "seqcomb_uv": "seqcomb",
    "seqcomb_mv": "seqcomb",
    "lowvar": "seqcomb",
}
OTHERS = {"panels": "panels", "decoys": "decoys", "movies": "movies"}  # LEX and the black box on images and texts
PRESETS = ("lex", "realx", "invase", "l2x")
BEHAVIOUR, BLACK_BOX = "behaviour mask", "black box"
POSTHOC = {"integrated gradients": IntegratedGradients, "occlusion": Occlusion}
CONFIGS = {BEHAVIOUR: "behaviour_mask", BLACK_BOX: "blackbox"}
EPOCHS = {"image": 40}  # of the networks that test a selection, by modality; 10 for others
SIZES = {
    "syn1": 2,
    "syn2": 4,
    "syn3": 4,
    "syn4": 4,
    "syn5": 4,
    "syn6": 5,
    "switch": 5,
}  # number of elements that L2X selects
MOST = 256  # elements of a table or series that occlusion hides one by one
IMAGES = 4  # axes of a batch of images
Run = tuple[str, dict[str, str]]  # config in configs/selectors, and changes
SUBSET = {  # of LEX on film reviews: the same number of sentences of each review
    "model.init_args.mask": json.dumps(
        {"law": "subset", "size": 8, "estimator": "reinforce", "baseline": "others", "samples": 4}
    ),
    "model.init_args.recipe.stages": json.dumps(
        [
            {"name": "fit_imputer"},
            {"name": "predictor", "epochs": 8, "train": ["predictor", "head"]},
            {"name": "train", "epochs": 16, "train": ["selector", "predictor", "head"], "cosine": True},
        ]
    ),
    "model.init_args.recipe.coefficients": '{"selected": 0}',
    "model.init_args.recipe.lr": '{"selector": 0.01, "predictor": 0.003, "head": 0.003}',
}


def runs() -> dict[tuple[str, str], Run]:
    """The config and its changes by world and model."""
    found: dict[tuple[str, str], Run] = {}
    for world in TABLES:
        data = {"data.init_args.name": world}
        for preset in PRESETS:
            found[world, preset] = ("lex_syn4", data | preset_changes(preset, world))
        found[world, BLACK_BOX] = ("blackbox_syn4", data)
    for world, ending in SERIES.items():
        name = {} if ending == "freqshapes" else {"data.init_args.name": world}
        found |= {(world, model): (f"{CONFIGS[model]}_{ending}", name) for model in (BEHAVIOUR, BLACK_BOX)}
    for world, ending in OTHERS.items():
        if world == "movies":
            found[world, "lex of 8 sentences"] = (f"lex_{ending}", SUBSET)
        found |= {(world, "lex"): (f"lex_{ending}", {}), (world, BLACK_BOX): (f"blackbox_{ending}", {})}
    return found


def preset_changes(preset: str, world: str) -> dict[str, str]:
    """What a preset changes of the config of LEX: no imputer is fitted, and INVASE has a network to compare with."""
    if preset == "lex":
        return {}
    more = ["baseline"] if preset == "invase" else []
    stages = [
        {"name": "predictor", "epochs": 10, "train": ["predictor", "head", *more]},
        {
            "name": "train",
            "epochs": 20,
            "train": ["selector", "predictor", "head", *more],
            "decay_every": 8,
            "decay": 0.3,
        },
    ]
    changes = {"model.init_args.preset": preset, "model.init_args.recipe.stages": json.dumps(stages)}
    return changes | ({"model.init_args.mask": json.dumps({"size": SIZES[world]})} if preset == "l2x" else {})


def main() -> int:
    every = runs()
    worlds, models = list(dict.fromkeys(w for w, _ in every)), list(dict.fromkeys(m for _, m in every))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of all trainings (default: 0 1 2)")
    parser.add_argument("--worlds", nargs="+", choices=worlds, default=worlds, metavar="NAME")
    parser.add_argument("--models", nargs="+", choices=models, default=models, metavar="NAME")
    parser.add_argument("--runs", type=Path, default=Path("runs/selectors"), help="folder of the trained models")
    options = parser.parse_args()
    record = Record("SELECTORS", page)
    for seed in options.seeds:
        for (world, model), (config, changes) in every.items():
            key = f"{world}, {model}, seed {seed}"
            if world in options.worlds and model in options.models and key not in record.found:
                folder = options.runs / f"{world}_{model.replace(' ', '_')}_seed{seed}"
                trained(folder, f"selectors/{config}", seed, key, changes)
                record.keep(key, measure, folder, model == BLACK_BOX, seed)
    return 0


def measure(folder: Path, black_box: bool, seed: int) -> dict[str, Any]:
    """Accuracy and recovery of the evidence on the test rows; of selectors, their tests as well."""
    data = data_of(folder / "checkpoint", folder / "config.yaml", [], "evaluate")
    data.prepare_data()
    data.setup("test")
    found = {"accuracy": read(folder / "metrics.json")["accuracy"]}
    if black_box:
        best = load_network(folder / FILE)
        options = read(folder / "run.json")["config"]["model"]["init_args"]
        network = BlackBox(best.domain, options["backbone"]).eval()
        network.load_state_dict(best.state_dict())
        if network.domain.modality == "text":
            return found | {"occlusion": recovery(without_each_word(network), data)}
        few = math.prod(network.domain.shape) <= MOST or network.domain.modality == "image"
        methods = {name: make for name, make in POSTHOC.items() if few or name != "occlusion"}
        return found | {name: recovery(explained(make, network, data), data) for name, make in methods.items()}
    model = zoo.load(folder / "checkpoint")
    train = DataLoader(data.projection_dataset(), data.batch_size, shuffle=True, collate_fn=collate)
    report = selection_report(model, train, data.test_dataloader(), EPOCHS.get(model.domain.modality, 10), seed)
    return found | vars(report) | {"average precision": recovery(chance_of(model), data)}


def chance_of(model: Any) -> Callable[[Tensor], Tensor]:
    """The chance of each place of inputs (B, *shape) to be selected."""

    def chance(x: Tensor) -> Tensor:
        elements = model.evidence(x).state["chance"]
        shown = model.elements.expand(elements, x)
        return (shown[:, 0] if x.ndim == IMAGES else shown).expand(places_of(x))

    return chance


def explained(make: Any, network: Any, data: DataModule) -> Callable[[Tensor], Tensor]:
    """The size of the attributions of a post-hoc method to each place of inputs, for the predicted class."""
    blank = as_batch(next(iter(data.train_dataloader())))["input"].mean(0)
    patches = 8 if network.domain.modality == "image" else max(network.domain.shape)
    method = make(network, blank, patches=patches)

    def size(x: Tensor) -> Tensor:
        parts = method.margins(x, network(x).argmax(1)).abs()
        return parts[:, method.cells].reshape(places_of(x))

    return size


def without_each_word(network: BlackBox) -> Callable[[Tensor], Tensor]:
    """How much the score of the predicted class changes when a word is replaced by an unknown one, (B, T)."""

    @torch.no_grad()
    def size(x: Tensor) -> Tensor:
        scores = network(x)
        scores, target = scores - scores.mean(1, keepdim=True), scores.argmax(1)
        found = torch.zeros(x.shape)
        for i, row in enumerate(x):
            places = (row != PAD).nonzero()[:, 0]
            hidden = row.repeat(len(places), 1)
            hidden[torch.arange(len(places)), places] = UNKNOWN
            changed = torch.cat([network(some) for some in hidden.split(128)])
            changed = changed - changed.mean(1, keepdim=True)
            found[i, places] = (scores[i, target[i]] - changed[:, target[i]]).abs()
        return found

    return size


def places_of(x: Tensor) -> torch.Size:
    """The shape of inputs, without the channels of images: rows and places."""
    return x[:, 0].shape if x.ndim == IMAGES else x.shape


@torch.no_grad()
def recovery(value_of: Callable[[Tensor], Tensor], data: DataModule) -> float:
    """Mean average precision of values at each place for the known evidence; of test rows that have some."""
    found: list[float] = []
    for batch in map(as_batch, data.test_dataloader()):
        x = batch["input"]
        truth = (batch["regions"].amax(1) > 0).expand(places_of(x)).flatten(1)
        with torch.enable_grad():
            values = value_of(x).detach().flatten(1)
        some = truth.any(1)
        found += average_precision(values[some], truth[some]).tolist()
    return statistics.mean(found)


if __name__ == "__main__":
    sys.exit(main())
