"""Kinds of sparse codes of one frozen network, on part birds: `python -m benchmarks.codes`.

The black box of `configs/worlds/blackbox_part_birds.yaml` is trained unless its run is there, and the features of its
8 x 8 cells are written to files. Each kind of code is trained on those of the training images with each seed, by
`zoo.concepts.fit_dictionary`, and measured on the test images; finished trainings are kept. Writes benchmarks/CODES.md
and .json. All take about 20 minutes on one core.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.runs import HERE, call, read
from zoo.concepts.layers.fit_dictionary import fit_dictionary
from zoo.concepts.layers.sparse_codes import Dictionary
from zoo.data import PartBirds
from zoo.metrics import PartPurity, atom_stability
from zoo.metrics.prototypes.part_prototypes import peaks
from zoo.networks.sparse_support import sparsest
from zoo.training.black_box_file import FILE, load_network

BLACK_BOX = "configs/worlds/blackbox_part_birds.yaml"
ATOMS, ACTIVE, PER_CLASS = 128, 6, 10
CODES: dict[str, dict[str, Any]] = {
    "L1": {"kind": "vanilla"},
    "TopK": {"kind": "topk"},
    "BatchTopK": {"kind": "batch_topk"},
    "JumpReLU": {"kind": "jumprelu"},
    "matching pursuit": {"kind": "mp"},
    "semi-NMF": {"kind": "snmf"},
    "TopK, archetypes": {"kind": "topk", "archetypes": 256},
    "BatchTopK, archetypes": {"kind": "batch_topk", "archetypes": 256},
}
SEEN = 15 / 64  # share of the side of an image that a cell sees
COLUMNS = {
    "r2": ("R²", "{:.3f}"),
    "active": ("active", "{:.1f}"),
    "dead": ("dead", "{:.1%}"),
    "replacing": ("replacing", "{:.1%}"),
    "sparse": ("sparse", "{:.1%}"),
    "residual": ("residual", "{:.1%}"),
    "stability": ("stability", "{:.2f}"),
    "purity": ("purity", "{:.2f}"),
    "chance": ("by chance", "{:.2f}"),
    "cpu_seconds": ("CPU s", "{:.0f}"),
}
ABOUT = f"""{ATOMS} atoms for the 128 channels of the last map; mean over training seeds. *R²*: of the features of a
cell. *active*: atoms of a cell in use ({ACTIVE} for the kinds with a number; the others as their default penalty has
it). *dead*: atoms that no test image uses. *replacing*: accuracy of the black box's head on what the atoms code.
*sparse*: accuracy of a new head with at most {PER_CLASS} weights for each class. *residual*: what the atoms miss, as
share of the absolute contributions to the lead over the runner-up. *stability*: mean cosine of the atoms in use,
matched one to one, over all pairs of seeds. *purity*: share of the 10 strongest cells of an atom, each in another
image, that lie at its most frequent part of the bird (within the 15 pixels that a cell sees); *by chance*: the same
with the parts of another image. *CPU s*: of one training."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the codes (default: 0 1 2)")
    parser.add_argument("--steps", type=int, default=1000, help="of a training (default: 1000)")
    parser.add_argument("--only", nargs="+", choices=list(CODES), default=list(CODES), help="kinds of codes")
    parser.add_argument("--runs", type=Path, default=Path("runs/codes"), help="folder of trainings and features")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cells = prepare(options.runs)
    logits = cells["test"].mean(1) @ cells["weight"].T + cells["bias"]
    accuracy = share(logits.argmax(1) == cells["test target"])
    file = HERE / "CODES.json"
    record = read(file) if file.is_file() else {"codes": {}}
    record |= {"black box": accuracy, "seeds": options.seeds, "steps": options.steps}
    for name in options.only:
        folders = [trained(name, seed, options.steps, options.runs, cells) for seed in options.seeds]
        record["codes"][name] = [read(folder / "code.json") for folder in folders]
        if len(folders) > 1:
            found = atom_stability([load_file(folder / "atoms.safetensors")["atoms"] for folder in folders])
            for one in record["codes"][name]:
                one["stability"] = found
        record["codes"] = {key: record["codes"][key] for key in CODES if key in record["codes"]}
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        file.with_suffix(".md").write_text(page(record), encoding="utf-8")
    print(page(record))
    return 0


@torch.no_grad()
def prepare(runs: Path) -> dict[str, Tensor]:
    """Features, targets and parts of the images, and the head of the black box; the features also as file."""
    kept, run = runs / "cells.safetensors", runs / "blackbox_part_birds"
    if not kept.is_file():
        if not (run / FILE).is_file():
            call(
                ["fit", "--config", BLACK_BOX, "--output", str(run), "--trainer.enable_progress_bar", "false"], run.name
            )
        network, data, found = load_network(run / FILE), PartBirds(), {}
        for split in ("train", "test"):
            pictures = data.projection_dataset() if split == "train" else data.test_dataset()
            items = [pictures[i] for i in range(data.counts[split])]
            maps = [
                network.backbone.backbone(torch.stack([i["input"] for i in items[k : k + 100]]))  # pyright: ignore
                for k in range(0, len(items), 100)
            ]
            found[split] = torch.cat(maps).flatten(2).mT.half().contiguous()  # (N, P, d)
            found[f"{split} target"] = torch.stack([torch.as_tensor(i["target"]) for i in items])
        found["parts"] = middles(data.masks("test", range(data.counts["test"]))[0])
        found |= {"weight": network.head.weight.detach(), "bias": network.head.bias.detach()}
        save_file(found, kept)
    found = load_file(kept)
    if not (runs / "train.npy").is_file():
        np.save(runs / "train.npy", found["train"].flatten(0, 1).numpy())
    return {name: value.float() if value.is_floating_point() else value for name, value in found.items()}


def middles(masks: Tensor) -> Tensor:
    """(N, P, 2) mean x and y, in [0, 1], of the pixels of masks (N, P, H, W); NaN where there are none."""
    height, width = masks.shape[2:]
    seen = masks.double()
    x = (seen.sum(2) * (torch.arange(width) + 0.5) / width).sum(2)
    y = (seen.sum(3) * (torch.arange(height) + 0.5) / height).sum(2)
    return (torch.stack([x, y], 2) / seen.sum((2, 3))[..., None]).float()


def trained(name: str, seed: int, steps: int, runs: Path, cells: Mapping[str, Tensor]) -> Path:
    """The folder of a trained and measured code: code.json, and the atoms in use."""
    folder = runs / f"{name.replace(', ', '_').replace(' ', '_')}_{steps}_seed{seed}"
    if (folder / "code.json").is_file():
        return folder
    print(f"training {name}, seed {seed}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    options = {"atoms": ATOMS, "active": ACTIVE, **CODES[name]}
    start = time.process_time()
    code = fit_dictionary(runs / "train.npy", options, steps=steps, seed=seed)
    spent = time.process_time() - start
    found, used = measure(code, cells)
    save_file({"atoms": code.atoms.detach()[used].contiguous()}, folder / "atoms.safetensors")
    record = {"cpu_seconds": spent, **found}
    (folder / "code.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
    return folder


@torch.no_grad()
def measure(code: Dictionary, cells: Mapping[str, Tensor]) -> tuple[dict[str, float], Tensor]:
    """The metrics of a code, and which atoms (m,) the test images use."""
    features, target, weight, bias = (cells[key] for key in ("test", "test target", "weight", "bias"))
    z, error = coded(code, features)
    power = ((features - code.mean) / code.scale).square().sum(2)
    pooled, used = z.mean(1), (z > 0).flatten(0, 1).any(0)
    black_box = features.mean(1) @ weight.T + bias
    rebuilt = (pooled @ code.atoms + code.bias) @ weight.T + bias
    train = coded(code, cells["train"], pool=True)[0]
    head = sparsest(train, cells["train target"], len(weight), [PER_CLASS])[PER_CLASS]
    maps = z.mT.unflatten(2, (8, 8))
    purity = {}
    for key, parts in (("purity", cells["parts"]), ("chance", cells["parts"].roll(1, 0))):
        metric = PartPurity(z.shape[2], parts.shape[1], width=SEEN, minimum=1e-6)
        for some, places, activation in zip(maps.split(100), parts.split(100), z.amax(1).split(100), strict=True):
            metric.update(peaks(some), places, activation)
        purity[key] = float(metric.compute())
    return {
        "r2": float(1 - error.sum() / power.sum()),
        "active": float((z > 0).sum(2).float().mean()),
        "dead": float(1 - used.float().mean()),
        "replacing": share(rebuilt.argmax(1) == target),
        "agreement": share(rebuilt.argmax(1) == black_box.argmax(1)),
        "sparse": share((pooled @ head.weight.T + head.bias).argmax(1) == target),
        "residual": residual_share(pooled, code, black_box, rebuilt, weight),
        **purity,
    }, used


def coded(code: Dictionary, features: Tensor, pool: bool = False) -> tuple[Tensor, Tensor]:
    """Codes (N, P, m) of the cells of images, or their means (N, m), and the errors (N, P)."""
    codes, errors = [], []
    for some in features.split(100):
        found = code(some.flatten(0, 1))
        z = found.code.unflatten(0, some.shape[:2])
        codes.append(z.mean(1) if pool else z)
        errors.append(found.error.unflatten(0, some.shape[:2]))
    return torch.cat(codes), torch.cat(errors)


def residual_share(pooled: Tensor, code: Dictionary, black_box: Tensor, rebuilt: Tensor, weight: Tensor) -> float:
    """Mean share of the residual in the absolute contributions to the lead of the predicted class over the next one."""
    first, second = black_box.topk(2, 1).indices.unbind(1)
    rows = torch.arange(len(pooled))
    atoms = pooled * ((weight[first] - weight[second]) @ code.atoms.T)
    missed = black_box - rebuilt
    rest = (missed[rows, first] - missed[rows, second]).abs()
    return float((rest / (atoms.abs().sum(1) + rest)).mean())


def share(right: Tensor) -> float:
    return float(right.float().mean())


def page(record: Mapping[str, Any]) -> str:
    """The Markdown page."""
    lines = ["# Sparse codes on part birds", "", ABOUT, ""]
    lines += [f"The black box: {record['black box']:.1%}. Seeds {', '.join(map(str, record['seeds']))}; "]
    lines[-1] += f"{record['steps']:,} steps on 1,024 cells."
    lines += ["", f"| code | {' | '.join(title for title, _ in COLUMNS.values())} |"]
    lines += ["|---|" + "---:|" * len(COLUMNS)]
    for name, runs in record["codes"].items():
        lines.append(f"| {name} | {' | '.join(cell(runs, key, style) for key, (_, style) in COLUMNS.items())} |")
    return "\n".join([*lines, "", "Created by `python -m benchmarks.codes`.", ""])


def cell(runs: Sequence[Mapping[str, float]], key: str, style: str) -> str:
    return style.format(statistics.mean(run[key] for run in runs)) if all(key in run for run in runs) else "–"


if __name__ == "__main__":
    sys.exit(main())
