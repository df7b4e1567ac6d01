"""Compares concept models on the first 50 classes of CUB-200-2011: `python -m benchmarks.cub_concepts`.

Features of the box crops and of their mirror images are computed once by a frozen MobileNetV2 (ImageNet). Every model
is trained on these features by its own recipe, on the official split, with 5 % of the training images held out. The
concepts are the 35 attributes that at least half of the annotations of a class confirm and at least 10 classes have.
They are labels of classes: even with all concepts set, two classes with the same attributes cannot be distinguished.

Writes a table, benchmarks/CUB_CONCEPTS.md, and all measurements, benchmarks/CUB_CONCEPTS.json.
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
from zoo.concepts.layers.annotated import AnnotatedConcepts
from zoo.concepts.layers.embeddings import EmbeddingHead, mixed_embeddings
from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.data import CUB
from zoo.data.base.items import Rows
from zoo.data.base.module import DataModule
from zoo.data.base.sampling import stratified_split
from zoo.domain import Domain, TableDomain
from zoo.interventions.cached_evidence import cache_evidence
from zoo.interventions.policies import make_policies
from zoo.interventions.protocol import Protocol
from zoo.interventions.sweep import sweep
from zoo.metrics import concept_report
from zoo.networks.image_backbones import create_backbone
from zoo.training.black_box import BlackBox
from zoo.training.staged_module import StagedModule
from zoo.utils.functional import area_under_roc

HERE = Path(__file__).parent
JSON = HERE / "CUB_CONCEPTS.json"
WEIGHTS = "$ZOO_DATA/weights/timm_mobilenetv2_100_in1k_tf2_ptq.safetensors"
CONCEPTS_FIRST = [
    {"name": "concepts", "epochs": 20, "train": ["concepts"], "decay_every": 14, "decay": 0.2},
    {"name": "head", "epochs": 20, "train": ["head"], "decay_every": 14, "decay": 0.2},
]
JOINT = [{"name": "joint", "epochs": 25, "train": ["concepts", "head"], "decay_every": 18, "decay": 0.2}]
TWICE = [{**JOINT[0], "epochs": 50, "decay_every": 35}]
WITH_POLICY = [{**JOINT[0], "train": ["concepts", "policy", "head"]}]
PROJECTED = [{"name": "learn_bank"}, {"name": "sparsify"}, {"name": "measure", "epochs": 1, "train": []}]
HYBRID = [*PROJECTED[:2], {"name": "residual", "epochs": 5, "train": ["residual"]}]
RESIDUAL: dict[str, Any] = {"residual": True, "lam": 2e-4, "recipe": {"stages": HYBRID, "lr": 1e-3}}
WEIGHTED = {"concepts": 5.0}
SLOW = {"concepts": 3e-3, "head": 1e-2}
FAST_HEAD = {"concepts": 1e-3, "head": 1e-2}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "CBM, joint": ("cbm", {"recipe": {"stages": JOINT, "lr": SLOW, "coefficients": WEIGHTED}}),
    "CBM, joint, logits": (
        "cbm",
        {"bottleneck": "logit", "recipe": {"stages": JOINT, "lr": 3e-3, "coefficients": WEIGHTED}},
    ),
    "CBM, sequential": ("cbm", {"training": "sequential", "recipe": {"stages": CONCEPTS_FIRST, "lr": SLOW}}),
    "CBM, independent": ("cbm", {"training": "independent", "recipe": {"stages": CONCEPTS_FIRST, "lr": SLOW}}),
    "CEM": ("cem", {"recipe": {"stages": JOINT, "lr": 1e-3}}),
    "IntCEM": ("intcem", {"recipe": {"stages": WITH_POLICY, "lr": 1e-3}}),
    "SCBM, global": ("scbm", {"covariance": "global", "recipe": {"stages": TWICE, "lr": FAST_HEAD}}),
    "Post-hoc CBM": ("posthoc", {"recipe": {"stages": PROJECTED}, "lam": 2e-4}),
    "Post-hoc CBM, random bank": ("posthoc", {"bank": "random", "recipe": {"stages": PROJECTED}, "lam": 2e-4}),
    "Post-hoc CBM, residual": ("posthoc", RESIDUAL),
    "Post-hoc CBM, random bank, residual": ("posthoc", {"bank": "random", **RESIDUAL}),
}


class Features(DataModule):
    """Image features as rows of a table; the training rows include mirror images."""

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
    """Pooled features of all images by split, computed once."""
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


def trained(model: StagedModule, data: DataModule) -> dict[str, float]:
    """Trains a model by its whole recipe, and tests it."""
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
def report(model: SelfInterpretable, data: DataModule, black_box: Tensor, seed: int) -> dict[str, Any]:
    """Concept metrics and interventions on the test images."""
    items = data.items("test", False)
    scores, evidence = model.eval().step(items.inputs)
    annotated = getattr(model, "annotated", None)
    if not isinstance(annotated, AnnotatedConcepts):  # margins, which have no true value to set
        margins = evidence.activation[:, : len(model.domain.concepts)]
        found = {"concept_auc": area_under_roc(margins, items.concepts).nanmean().item()}
        return found | (residual_report(model, scores, evidence, items.targets) if evidence.state else {})
    representation = mixed_embeddings(evidence) if isinstance(model.head, EmbeddingHead) else None
    probability = annotated.probability(evidence)
    found = concept_report(probability, representation, items.concepts, items.targets, scores, black_box, seed=seed)
    out: dict[str, Any] = {name: entry["value"] for name, entry in found.items()}
    cached = cache_evidence(model, data.test_dataloader())
    for competence, key in ((1.0, "true"), (0.0, "wrong")):
        affine = model.slopes(cached.evidence) is not None  # else CooP solves for every further answer anew
        names = ["random", "coop"] if competence and affine else ["random"]
        protocol = Protocol(competences=(competence,), orders=5, seed=seed)
        for curve in sweep(model, cached, make_policies(names, model, cached), protocol):
            out[f"{curve.policy}, {key} labels"] = curve.to_dict()
    return out


def residual_report(model: SelfInterpretable, scores: Tensor, evidence: Evidence, targets: Tensor) -> dict[str, float]:
    """What is left without the residual, and its share of the |contributions| to the lead over the runner-up."""
    without = model.readout(model.ablate(evidence, ["residual"]))
    first, second = scores.topk(2, 1).indices.unbind(1)
    (ahead, _), (behind, _) = model.attribute(evidence, first), model.attribute(evidence, second)
    lead = (ahead - behind).abs()
    return {
        "without": (without.argmax(1) == targets).float().mean().item(),
        "share": (lead[:, -1] / lead.sum(1).clamp_min(1e-12)).mean().item(),
        "changed": (without.argmax(1) != first).float().mean().item(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default=3, type=int)
    parser.add_argument("--cache", default=Path(tempfile.gettempdir()) / "zoo_cub_features.safetensors", type=Path)
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="train these, and keep the other rows as they are")
    options = parser.parse_args()
    chosen = {title: made for title, made in MODELS.items() if title in (options.only or MODELS)}
    if options.only and len(chosen) != len(options.only):
        parser.error(f"--only takes some of: {', '.join(MODELS)}.")
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
    results: dict[str, list[dict[str, Any]]] = json.loads(JSON.read_text()) if options.only else {}
    results = {title: results.get(title, []) for title in ("black box", *MODELS)}
    results |= {title: [] for title in ("black box", *chosen)}
    for seed in range(options.seeds):
        data = Features(table, domain, seed)
        seed_everything(seed, verbose=False)
        stages = [{"name": "train", "epochs": 25, "train": ["head"], "decay_every": 18, "decay": 0.2}]
        baseline = BlackBox(domain, backbone="identity", recipe={"stages": stages, "lr": 3e-3})
        results["black box"].append(trained(baseline, data))
        with torch.no_grad():
            black_box = baseline.eval()(data.items("test", False).inputs)
        for title, (name, arguments) in chosen.items():
            seed_everything(seed, verbose=False)
            model = zoo.create_model(name, domain=domain, backbone="identity", **arguments)
            measured = trained(model, data)
            results[title].append(measured | report(model, data, black_box, seed))
            print(f"seed {seed}: {title}: test accuracy {measured['test/accuracy']:.4f}", flush=True)
    write(results, options.seeds)
    return 0


def write(results: dict[str, list[dict[str, Any]]], seeds: int) -> None:
    """The table as Markdown, and all numbers as JSON."""
    head = (
        "model",
        "accuracy",
        "concept AUC",
        "50 % set",
        "all set",
        "area",
        "wrong labels",
        "CTL",
        "ICL",
        "OIS",
        "NIS",
        "without residual",
        "its share",
    )
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for title, runs in results.items():
        true, wrong = ([run[k] for run in runs if k in run] for k in ("random, true labels", "random, wrong labels"))
        cells = [
            _mean([100 * run["test/accuracy"] for run in runs], 1),
            _mean([run.get("concept_auc") for run in runs], 3),
            _mean([100 * curve["accuracy_at"]["50%"] for curve in true], 1),
            _mean([100 * curve["accuracy_at"]["100%"] for curve in true], 1),
            _mean([curve["area_under_curve"] for curve in true], 3),
            _mean([100 * curve["accuracy_at"]["100%"] for curve in wrong], 1),
            *(_mean([run.get(key) for run in runs], 3) for key in ("ctl", "icl", "ois", "nis")),
            *(_mean([None if key not in run else 100 * run[key] for run in runs], 1) for key in ("without", "share")),
        ]
        lines.append("| " + " | ".join([title, *cells]) + " |")
    about = (__doc__ or "").strip().split("\n\n")
    notes = (
        f"Mean and standard deviation over {seeds} seeds; measured with {torch.get_num_threads()} CPU thread(s). "
        "Accuracy in %. 'set': accuracy after this share of the concept groups is set to its true values, in random "
        "order; 'area': under that curve; 'wrong labels': all groups are set to the opposite of their true values. "
        "CTL, ICL (leakage to the task and between concepts), OIS and NIS (impurity): 0 is best; for NIS 0.5. "
        "'without residual': accuracy after the unit 'residual', what a linear map of the features adds, is removed; "
        "'its share': of the absolute contributions to the lead over the runner-up, in %."
    )
    parts = [
        "# Concept models on CUB-50",
        about[1],
        notes,
        "\n".join(lines),
        "Created by `python -m benchmarks.cub_concepts`.",
    ]
    text = "\n\n".join(parts) + "\n"
    (HERE / "CUB_CONCEPTS.md").write_text(text, encoding="utf-8")
    JSON.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(text)


def _mean(values: list[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    spread = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.{digits}f}{spread}"


if __name__ == "__main__":
    sys.exit(main())
