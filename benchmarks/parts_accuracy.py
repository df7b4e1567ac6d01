"""Errors of models of parts and of masked black boxes: `python -m benchmarks.parts_accuracy --data mnist`.

Trains the shipped configs whose runs are missing, then measures errors on the official test set:

    black box       the same backbone with a linear head, on complete inputs
    own backbone    that of Sum-of-Parts, trained on random groups, on complete inputs
    Sum-of-Parts, BagNet, SENN
    post-hoc masks  the black box, and Sum-of-Parts' own backbone, on the fifth of the elements that an attribution
                    method (captum, or Grad-CAM) ranks highest, everything else hidden (You et al., section 5: "-F")

Post-hoc masks are measured on the first `--images` of a fixed shuffle. Writes benchmarks/PARTS_<data>.md and .json.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

import zoo
from zoo.cli.settings import create_data
from zoo.domain import Domain
from zoo.networks.elements import Elements
from zoo.parts import SumOfParts
from zoo.parts.layers.group_generator import highest
from zoo.training.black_box import BlackBox

HERE = Path(__file__).parent
RUNS = {
    "mnist": {
        "black box": "prototypes/blackbox_mnist",
        "Sum-of-Parts": "parts/sop_mnist",
        "BagNet": "parts/bagnet_mnist",
        "SENN": "parts/senn_mnist",
    },
    "cub50": {
        "black box": "prototypes/blackbox_cub50",
        "Sum-of-Parts": "parts/sop_cub50",
    },
}
Attribution = Callable[[nn.Module, Tensor, Tensor, Elements], Tensor]


def integrated_gradients(model: nn.Module, x: Tensor, target: Tensor, elements: Elements) -> Tensor:
    from captum.attr import IntegratedGradients

    found = IntegratedGradients(model).attribute(x, target=target, n_steps=20, internal_batch_size=64)
    return elements.reduce(found.detach().sum(1, keepdim=True))[:, 0]


def occlusion(model: nn.Module, x: Tensor, target: Tensor, elements: Elements) -> Tensor:
    from captum.attr import FeatureAblation

    number = torch.arange(elements.count)[None].float()
    mask = elements.expand(number, x).long()
    with torch.no_grad():
        found = FeatureAblation(model).attribute(x, target=target, feature_mask=mask, perturbations_per_eval=8)
    return elements.reduce(found.sum(1, keepdim=True))[:, 0]


def grad_cam(model: nn.Module, x: Tensor, target: Tensor, elements: Elements) -> Tensor:
    """Grad-CAM (Selvaraju et al., ICCV 2017) on the backbone's feature map, resized to the grid of elements."""
    maps = model.backbone.backbone(x).detach().requires_grad_()  # pyright: ignore
    score = model.head(maps.mean((2, 3))).gather(1, target[:, None]).sum()  # pyright: ignore[reportCallIssue]
    (gradient,) = torch.autograd.grad(score, maps)
    heat = (maps * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True).relu().detach()
    return F.interpolate(heat, elements.grid, mode="bilinear", align_corners=False).flatten(1)


def at_random(model: nn.Module, x: Tensor, target: Tensor, elements: Elements) -> Tensor:
    return torch.rand(len(x), elements.count, generator=torch.Generator().manual_seed(0))


METHODS: dict[str, Attribution] = {
    "integrated gradients": integrated_gradients,
    "Grad-CAM": grad_cam,
    "occlusion": occlusion,
    "random elements": at_random,
}


class Whole(nn.Module):
    """The backbone and head of a Sum-of-Parts as a classifier of complete inputs, built like a black box."""

    def __init__(self, model: SumOfParts) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone.encoder, model.head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


def run(name: str, runs: Path) -> Path:
    """Folder of a run; trains it if it is missing."""
    folder = runs / Path(name).name
    if not (folder / "metrics.json").is_file():
        command = [sys.executable, "train.py", "fit", "--config", f"configs/{name}.yaml", "--output", str(folder)]
        subprocess.run(command, check=True)
    return folder


def black_box(folder: Path, domain: Domain) -> nn.Module:
    """Builds a trained black box from its config and its best weights."""
    arguments = yaml.safe_load((folder / "config.yaml").read_text())["model"]["init_args"]
    arguments.pop("domain", None)
    model = BlackBox(domain, **BlackBox.offline_arguments(arguments))
    weights = folder / ("best.ckpt" if (folder / "best.ckpt").is_file() else "last.ckpt")
    model.load_state_dict(torch.load(weights, weights_only=True)["state_dict"])
    return model.eval()


def masked_error(
    judge: nn.Module, ranked_by: nn.Module, method: Attribution, loader: DataLoader, elements: Elements
) -> float:
    """Error of `judge` on the fifth of the elements that `method` ranks highest for the prediction of `ranked_by`."""
    size, wrong, count = math.floor(0.2 * elements.count), 0, 0
    for batch in loader:
        x = batch["input"]
        with torch.no_grad():
            target = ranked_by(x).argmax(1)
        rank = method(ranked_by, x, target, elements)
        mask = highest(rank[:, None], torch.full((len(x),), size))[:, 0]
        with torch.no_grad():
            wrong += int((judge(elements.hide(x, mask, "zero")).argmax(1) != batch["target"]).sum())
        count += len(x)
    return wrong / count


def error(model: nn.Module, loader: DataLoader) -> float:
    with torch.no_grad():
        wrong = [model(batch["input"]).argmax(1) != batch["target"] for batch in loader]
    return float(torch.cat(wrong).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", choices=sorted(RUNS))
    parser.add_argument("--images", type=int, default=1000, help="for post-hoc masks")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of trained runs")
    options = parser.parse_args()
    folders = {name: run(path, options.runs) for name, path in RUNS[options.data].items()}
    data = create_data(Path("configs") / f"{RUNS[options.data]['Sum-of-Parts']}.yaml")
    test = data.test_dataset()
    loader = DataLoader(test, 64)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[: options.images].tolist()  # pyright: ignore
    some = DataLoader(Subset(test, order), 32)

    sop = zoo.load(folders["Sum-of-Parts"] / "checkpoint")
    assert isinstance(sop, SumOfParts)
    twin, own = black_box(folders["black box"], sop.domain), Whole(sop).eval()
    rows = {
        "black box, complete inputs": error(twin, loader),
        "own backbone of Sum-of-Parts, complete inputs": error(own, loader),
    }
    for name in [n for n in folders if n != "black box"]:
        rows[name] = 1 - json.loads((folders[name] / "metrics.json").read_text())["accuracy"]
    for name, method in METHODS.items():
        rows[f"black box on the top 20 % by {name}"] = masked_error(twin, twin, method, some, sop.elements)
        rows[f"own backbone on the top 20 % by {name}"] = masked_error(own, own, method, some, sop.elements)
    lines = [f"| {name} | {100 * value:.1f} % |" for name, value in rows.items()]
    note = f"Post-hoc masks: {len(order)} test images; all others: {len(test)}.\n"  # pyright: ignore[reportArgumentType]
    text = "\n".join([f"# Error rates on {options.data}\n", "| | error |", "|---|---|", *lines, "", note])
    (HERE / f"PARTS_{options.data.upper()}.md").write_text(text)
    (HERE / f"PARTS_{options.data.upper()}.json").write_text(json.dumps(rows, indent=1))
    print(text)


if __name__ == "__main__":
    main()
