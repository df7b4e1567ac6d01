"""Concept models on the first 50 classes of CUB-200-2011, side by side: `python -m benchmarks.cub_concepts`.

One frozen MobileNetV2 (ImageNet) makes features of the box crops and of their mirror images, once; every model is then
trained on these features by its own recipe, on the official split, with 5 % of the training images held out. Concepts
are the 35 attributes that at least half of the annotations of a class confirm (and at least 10 classes have), so they
are labels of classes: at 100 % answered concepts two classes of the same attributes remain alike.

Writes a table and everything measured beside it, benchmarks/CUB_CONCEPTS.md and .json.
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
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer, seed_everything
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

import zoo
from zoo.data import CUB
from zoo.data.base.items import Rows
from zoo.data.base.module import DataModule
from zoo.data.base.sampling import stratified_split
from zoo.domain import Domain, TableDomain
from zoo.interventions.annotator import cache
from zoo.interventions.sweep import Protocol, make_policies, sweep
from zoo.metrics import concept_report
from zoo.networks.image_backbones import create_backbone
from zoo.training.black_box import BlackBox
from zoo.utils.functional import area_under_roc

HERE = Path(__file__).parent
WEIGHTS = "$ZOO_DATA/weights/timm_mobilenetv2_100_in1k_tf2_ptq.safetensors"
CONCEPTS_FIRST = [
    {"name": "concepts", "epochs": 20, "train": ["concepts"], "decay_every": 14, "decay": 0.2},
    {"name": "head", "epochs": 20, "train": ["head"], "decay_every": 14, "decay": 0.2},
]
JOINT = [{"name": "joint", "epochs": 25, "train": ["concepts", "head"], "decay_every": 18, "decay": 0.2}]
WITH_POLICY = [{**JOINT[0], "train": ["concepts", "policy", "head"]}]
PROJECTED = [{"name": "learn_bank"}, {"name": "sparsify"}, {"name": "measure", "epochs": 1, "train": []}]
WEIGHED = {"concepts": 5.0}
SLOW = {"concepts": 3e-3, "head": 1e-2}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "CBM, joint": ("cbm", {"recipe": {"stages": JOINT, "lr": SLOW, "coefficients": WEIGHED}}),
    "CBM, joint, logits": (
        "cbm",
        {"bottleneck": "logit", "recipe": {"stages": JOINT, "lr": 3e-3, "coefficients": {"concepts": 5.0}}},
    ),
    "CBM, sequential": ("cbm", {"training": "sequential", "recipe": {"stages": CONCEPTS_FIRST, "lr": SLOW}}),
    "CBM, independent": ("cbm", {"training": "independent", "recipe": {"stages": CONCEPTS_FIRST, "lr": SLOW}}),
    "CEM": ("cem", {"recipe": {"stages": JOINT, "lr": 1e-3}}),
    "IntCEM": ("intcem", {"recipe": {"stages": WITH_POLICY, "lr": 1e-3}}),
    "Post-hoc CBM": ("posthoc", {"recipe": {"stages": PROJECTED}, "lam": 2e-4}),
    "Post-hoc CBM, random bank": ("posthoc", {"bank": "random", "recipe": {"stages": PROJECTED}, "lam": 2e-4}),
}


class Features(DataModule):
    """Features of images as rows of a table, mirror images among the training rows."""

    def __init__(self, table: dict[str, Tensor], domain: TableDomain, seed: int) -> None:
        super().__init__(batch_size=64, seed=seed, val_fraction=0.05)
        self.table, self.known = table, domain

    def make_domain(self) -> TableDomain:
        return self.known

    def items(self, split: str, training: bool) -> Rows:
        kept, held = stratified_split(self.table["train_target"], self.val_fraction, self.seed)
        rows = {"train": kept, "val": held, "test": list(range(len(self.table["test_target"])))}[split]
        source = "test" if split == "test" else "train"
        x, y, c = (self.table[f"{source}_{what}"][rows] for what in ("input", "target", "concepts"))
        if training:
            x, y, c = torch.cat([x, self.table["mirror_input"][rows]]), torch.cat([y, y]), torch.cat([c, c])
        return Rows(x, y, [f"{split} {i}" for i in range(len(y))], c)


@torch.no_grad()
def features(cub: CUB, cached: Path) -> dict[str, Tensor]:
    """Pooled features of all images by split, made once."""
    if cached.is_file():
        return load_file(cached)
    backbone = create_backbone({"name": "mobilenetv2_100", "pad_type": "same", "weights": WEIGHTS}, 3).eval()
    table: dict[str, Tensor] = {}
    for split in ("train", "test"):
        items = cub.items(split, False)
        rows: dict[str, list[Tensor]] = {f"{split}_input": []} | ({"mirror_input": []} if split == "train" else {})
        for chunk in tqdm(torch.arange(len(items)).split(50), f"features of {split}"):
            x = torch.stack([items[i]["input"] for i in chunk.tolist()])
            rows[f"{split}_input"].append(backbone(x).mean((2, 3)))
            if split == "train":
                rows["mirror_input"].append(backbone(x.flip(3)).mean((2, 3)))
        table |= {name: torch.cat(parts) for name, parts in rows.items()}
        if items.concepts is None:
            raise ValueError("the data has no concepts.")
        table |= {f"{split}_target": items.targets, f"{split}_concepts": items.concepts}
    save_file(table, cached)
    return table


def trained(model: Any, data: DataModule) -> dict[str, float]:
    """Trains through the whole recipe and tests."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = Trainer(
        max_epochs=model.max_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    start = time.perf_counter()
    trainer.fit(model, datamodule=data)
    seconds = time.perf_counter() - start
    trainer.test(model, datamodule=data, verbose=False)
    return {"seconds": seconds, **{k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("test/")}}


@torch.no_grad()
def report(model: Any, data: DataModule, black_box: Tensor, seed: int) -> dict[str, Any]:
    """Concept metrics and interventions on the test images."""
    items = data.items("test", False)
    scores, evidence = model.eval().step(items.inputs)
    if not hasattr(model, "concept_probability"):  # margins, which have no true value to be set to
        margins = evidence.activation[:, : len(model.domain.concepts)]
        return {"concept_auc": area_under_roc(margins, items.concepts).nanmean().item()}
    inner, probability = model.mixed(evidence) if hasattr(model, "mixed") else None, model.concept_probability(evidence)
    found = concept_report(probability, inner, items.concepts, items.targets, scores, black_box, seed=seed)
    out: dict[str, Any] = {name: entry["value"] for name, entry in found.items()}
    cached = cache(model, data.test_dataloader())
    for competence, key in ((1.0, "right"), (0.0, "wrong")):
        names = ["random", "coop"] if competence else ["random"]
        protocol = Protocol(competences=(competence,), orders=5, seed=seed)
        for curve in sweep(model, cached, make_policies(names, model, cached), protocol):
            out[f"{curve.policy}, {key} answers"] = curve.to_dict()
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default=3, type=int)
    parser.add_argument("--cache", default=Path(tempfile.gettempdir()) / "zoo_cub_features.safetensors", type=Path)
    options = parser.parse_args()
    if "ZOO_DATA" not in os.environ:
        print("set ZOO_DATA to the folder that holds cub50 and weights.", file=sys.stderr)
        return 2
    cub = CUB(concepts="class", augment="none", workers=0, mean=(0.5,) * 3, std=(0.5,) * 3)
    table, known = features(cub, options.cache), Domain.from_dict(cub.domain)
    domain = TableDomain(
        classes=known.classes,
        concepts=known.concepts,
        concept_groups=known.concept_groups,
        features=tuple(f"feature {i}" for i in range(table["train_input"].shape[1])),
    )
    results: dict[str, list[dict[str, Any]]] = {}
    for seed in range(options.seeds):
        data = Features(table, domain, seed)
        seed_everything(seed, verbose=False)
        stages = [{"name": "train", "epochs": 25, "train": ["head"], "decay_every": 18, "decay": 0.2}]
        twin = BlackBox(domain, backbone="identity", recipe={"stages": stages, "lr": 3e-3})
        results.setdefault("black box", []).append(trained(twin, data))
        with torch.no_grad():
            black_box = twin.eval()(data.items("test", False).inputs)
        for title, (name, arguments) in MODELS.items():
            seed_everything(seed, verbose=False)
            model = zoo.create_model(name, domain=domain, backbone="identity", **arguments)
            measured = trained(model, data)
            results.setdefault(title, []).append(measured | report(model, data, black_box, seed))
            print(f"seed {seed}: {title}: test accuracy {measured['test/accuracy']:.4f}", flush=True)
    write(results, options.seeds)
    return 0


def write(results: dict[str, list[dict[str, Any]]], seeds: int) -> None:
    """The table as Markdown, and all numbers as JSON."""
    head = (
        "model",
        "accuracy",
        "concept AUC",
        "answered 50 %",
        "answered all",
        "area",
        "wrong answers",
        "CTL",
        "ICL",
        "OIS",
        "NIS",
    )
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for title, runs in results.items():
        right, wrong = (
            [run[k] for run in runs if k in run] for k in ("random, right answers", "random, wrong answers")
        )
        cells = [
            _mean([100 * run["test/accuracy"] for run in runs], 1),
            _mean([run.get("concept_auc") for run in runs], 3),
            _mean([100 * curve["accuracy_at"]["50%"] for curve in right], 1),
            _mean([100 * curve["accuracy_at"]["100%"] for curve in right], 1),
            _mean([curve["area_under_curve"] for curve in right], 3),
            _mean([100 * curve["accuracy_at"]["100%"] for curve in wrong], 1),
            *(_mean([run.get(key) for run in runs], 3) for key in ("ctl", "icl", "ois", "nis")),
        ]
        lines.append("| " + " | ".join([title, *cells]) + " |")
    about = (__doc__ or "").strip().split("\n\n")
    text = (
        f"# Concept models on CUB-50\n\n{about[1]}\n\nMean and standard deviation over {seeds} seeds, on "
        f"{torch.get_num_threads()} CPU threads. Accuracy in %; 'answered': after so many of the concept groups, in "
        "random order, were set to their true values; 'area' under that curve; 'wrong answers': all set to the "
        "opposite. CTL, ICL (leakage to the task and between concepts), OIS and NIS (impurity): 0 is best, for NIS "
        "0.5.\n\n" + "\n".join(lines) + "\n\nRe-made by `python -m benchmarks.cub_concepts`.\n"
    )
    (HERE / "CUB_CONCEPTS.md").write_text(text, encoding="utf-8")
    (HERE / "CUB_CONCEPTS.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(text)


def _mean(values: list[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    spread = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.{digits}f}{spread}"


if __name__ == "__main__":
    sys.exit(main())
