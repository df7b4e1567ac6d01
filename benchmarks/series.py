"""Models of series on the UCR and UEA archives and on planted evidence: `python -m benchmarks.series`.

For each data set, model and seed, trains on the complete official training split, for the number of epochs of the
recipe, and measures accuracy on the official test split, the effective number of units of an explanation, and CPU
seconds. The same models are trained on series with planted evidence, where their explanations are compared with it.
A model is a row of MODELS: a config, whose data is replaced. Finished measurements are kept: an interrupted command
resumes. Writes benchmarks/SERIES.md and .json. With --validation, a quarter of the training series is held out and
measured instead, which is printed only.
"""

import argparse
import statistics
import sys
import time
from functools import cached_property
from typing import Any

import torch
from lightning import seed_everything
from torch import Tensor

from benchmarks import series_page
from benchmarks.rocket import Rocket
from benchmarks.runs import ROOT, Record, ordered
from zoo.cli.classes import find_class, models
from zoo.cli.config import read_config
from zoo.core.module import SelfInterpretable
from zoo.data import DataModule, PlantedSeries, SeriesArchive
from zoo.metrics.faithfulness.posthoc_methods import IntegratedGradients
from zoo.metrics.faithfulness.rows import NumberedBatches, reference_inputs
from zoo.metrics.faithfulness.subject import Subject
from zoo.metrics.faithfulness.suite import measure
from zoo.training.batch import as_batch
from zoo.training.fit import fit
from zoo.training.staged_module import StagedModule

CONFIGS = ROOT / "configs"
BLACK_BOX, ROCKET = "black box", "random convolutions"
MODELS = {  # name -> config; its data is replaced
    "Shapelets": "sequences/shapelets_gunpoint",
    "CodeCounts": "sequences/code_counts_gunpoint",
    "PatchTST": "sequences/patchtst_motions",
    "AttentionPool": "sequences/attention_pool_gunpoint",
    "LinearRecurrent": "sequences/linear_recurrent_gunpoint",
    "Linformer": "sequences/linformer_gunpoint",
    BLACK_BOX: "sequences/blackbox_gunpoint",
    ROCKET: "",
}
UCR = "ArrowHead CBF Coffee ECG200 ECGFiveDays GunPoint ItalyPowerDemand PowerCons SyntheticControl Trace TwoLeadECG"
SETS = (*UCR.split(), "BasicMotions", "JapaneseVowels")
PLANTED = {"FreqShapes": "freq_shapes", "SeqComb-UV": "seqcomb_uv"}
COUNT = 500  # training series with planted evidence
ROWS = 200  # test series of the metrics of explanations
HELD_OUT = 0.25  # of the training series with --validation


class Official(SeriesArchive):
    """An archive whose complete training split is for training."""

    @cached_property
    def _train_and_val_rows(self) -> tuple[list[int], list[int]]:
        return list(range(len(self.items("train", False).targets))), []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of all trainings (default: 0 1 2)")
    parser.add_argument("--sets", nargs="+", choices=[*SETS, *PLANTED], default=[*SETS, *PLANTED], metavar="NAME")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    parser.add_argument("--validation", action="store_true", help="measure on held-out training series; print only")
    options = parser.parse_args()
    record = Record("SERIES", page, lambda found: ordered(found, [*SETS, *PLANTED], list(MODELS)))
    validation: dict[str, Any] = {}
    for seed in options.seeds:
        for name in options.sets:
            for model in options.models:
                key = f"{name}, {model}, seed {seed}"
                if options.validation:
                    validation[key] = measured(name, model, seed, True)
                    print(f"{key}: {validation[key]}", flush=True)
                else:
                    record.keep(key, measured, name, model, seed)
    if options.validation:
        print(summary(validation))
    else:
        record.write()
    return 0


def page(record: dict[str, Any]) -> str:
    """The Markdown page of measurements by "set, model, seed N"."""
    return series_page.page(record, PLANTED, COUNT, ROWS)


def summary(record: dict[str, Any]) -> str:
    """The mean accuracy of each model over sets and seeds."""
    found: dict[str, list[float]] = {}
    for key, values in record.items():
        found.setdefault(key.split(", ")[1], []).append(100 * values["accuracy"])
    return "\n".join(f"{model}: {statistics.mean(values):.2f}" for model, values in found.items())


def data_of(name: str, seed: int, validation: bool) -> DataModule:
    """The data of a set, ready to use; the held-out part depends on the seed."""
    if name in PLANTED:
        data: DataModule = PlantedSeries(PLANTED[name], count=COUNT, val_count=ROWS, batch_size=32)
    else:
        options: dict[str, Any] = {"name": name, "uneven": "last", "batch_size": 16, "seed": seed}
        data = SeriesArchive(**options, val_fraction=HELD_OUT) if validation else Official(**options)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    return data


def measured(name: str, model: str, seed: int, validation: bool = False) -> dict[str, Any]:
    """The measurements of a model on a set."""
    data = data_of(name, seed, validation)
    rows = data.val_dataset() if validation else data.test_dataset()
    x, target = tensors(rows)
    start = time.process_time()
    if model == ROCKET:
        rocket = Rocket(seed=seed).fit(*tensors(data.projection_dataset()))
        seconds = time.process_time() - start
        return {"accuracy": rocket.accuracy(x, target), "seconds": seconds}
    seed_everything(seed, verbose=False)
    made = create(MODELS[model], data)
    fit(made, data, seed=seed, progress=False, limit_val_batches=0, accelerator="cpu")
    seconds = time.process_time() - start
    with torch.no_grad():
        scores = torch.cat([made(part) for part in x.split(64)])
    found: dict[str, Any] = {
        "accuracy": (scores.argmax(1) == target).float().mean().item(),
        "seconds": seconds,
        "train": len(data.projection_dataset()),
        "test": len(rows),
    }
    if validation:
        return found
    if isinstance(made, SelfInterpretable):
        found |= size_of(made, data)
    return found | (faithfulness(made, data, seed) if name in PLANTED else {})


def create(config: str, data: DataModule) -> StagedModule:
    """The model of a config, for other data."""
    described = read_config(CONFIGS / f"{config}.yaml")["model"]
    made = find_class(described["class_path"], models(), "model.class_path")
    return made(domain=data.domain, **described.get("init_args", {}))


def tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    """Inputs and classes of all items."""
    items = [as_batch(dataset[i]) for i in range(len(dataset))]
    return torch.stack([item["input"] for item in items]), torch.tensor([int(item["target"]) for item in items])


def size_of(model: SelfInterpretable, data: DataModule) -> dict[str, float]:
    """Number of units of the model, and of an explanation of a test series: the effective number, and for 90 %."""
    batches = NumberedBatches(data.test_dataset(), ROWS, data.batch_size)
    result = measure(Subject(model), batches, reference_inputs(data.projection_dataset()), ("M6",))["M6"]
    values = {name: result.values[name].value for name in ("effective units", "n90")}
    return {"units": len(model.units()), **values}


def faithfulness(model: StagedModule, data: DataModule, seed: int) -> dict[str, float]:
    """What the explanation of planted evidence finds (M11), and what its removal does (M3)."""
    reference = reference_inputs(data.projection_dataset())
    subject = Subject(model) if isinstance(model, SelfInterpretable) else integrated(model, reference)
    results = measure(subject, NumberedBatches(data.test_dataset(), ROWS, 50), reference, ("M3", "M11"), seed=seed)
    found = {name: results[key].values[name].value for key, name in WANTED}
    return {name: value for name, value in found.items() if value == value}


WANTED = (("M3", "gain"), ("M3", "random order"), ("M11", "average precision"), ("M11", "mass"))


def integrated(model: Any, reference: Tensor) -> Subject:
    """Integrated gradients of a black box, step by step."""
    return IntegratedGradients(model, reference.mean(0), patches=reference.shape[1])


if __name__ == "__main__":
    sys.exit(main())
