"""Errors of models of parts and of masked black boxes: `python -m benchmarks.parts_accuracy --data mnist`.

    black box       the same backbone with a linear head, on complete inputs
    own backbone    that of Sum-of-Parts, trained on random groups, on complete inputs
    Sum-of-Parts, BagNet, SENN
    post-hoc masks  the black box, and Sum-of-Parts' own backbone, on the fifth of the elements that an attribution
                    method (captum, or Grad-CAM) ranks highest, everything else hidden (You et al., section 5: "-F")

All rows are measured on the first images of one fixed shuffle of the test set. Models are the runs in `--runs`, or else
the shipped checkpoints; with `--train`, models without either are trained, otherwise their rows are left out. Writes
benchmarks/PARTS_<data>.md and .json. The default number of images takes less than ten minutes on one core.
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
from benchmarks.parts_page import MASKED, as_json, page
from zoo.checkpoints.pretrained import find
from zoo.cli.settings import create_data
from zoo.domain import Domain
from zoo.networks.elements import Elements
from zoo.parts import SumOfParts
from zoo.parts.layers.group_generator import highest
from zoo.training.black_box import BlackBox

HERE = Path(__file__).parent
MODELS = {  # config and shipped checkpoint of each row
    "mnist": {
        "black box": ("prototypes/blackbox_mnist", ""),
        "Sum-of-Parts": ("parts/sop_mnist", "sop-mnist"),
        "BagNet": ("parts/bagnet_mnist", "bagnet-mnist"),
        "SENN": ("parts/senn_mnist", "senn-mnist"),
    },
    "cub50": {
        "black box": ("prototypes/blackbox_cub50_birds", ""),
        "Sum-of-Parts": ("parts/sop_cub50", ""),
    },
}
IMAGES = {"mnist": 1000, "cub50": 200}
Attribution = Callable[[nn.Module, Tensor, Tensor, Elements], Tensor]


def integrated_gradients(model: nn.Module, x: Tensor, target: Tensor, elements: Elements) -> Tensor:
    from captum.attr import IntegratedGradients

    found = IntegratedGradients(model).attribute(x, target=target, n_steps=20, internal_batch_size=32)
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


def found(config: str, checkpoint: str, runs: Path, train: bool, domain: Domain) -> nn.Module | None:
    """The model of a run, or a shipped checkpoint, or a newly trained run; None if there is none."""
    folder = runs / Path(config).name
    if train and not checkpoint:
        folder = run(config, runs)
    if (folder / "metrics.json").is_file():
        return zoo.load(folder / "checkpoint") if (folder / "checkpoint").is_dir() else black_box(folder, domain)
    return zoo.load(find(checkpoint)) if checkpoint else None


def masked(judge: nn.Module, method: Attribution, loader: DataLoader, elements: Elements) -> Tensor:
    """(N,) bool: whether `judge` is wrong on the elements that `method` ranks highest for its prediction, a fifth."""
    size, wrong = math.floor(MASKED * elements.count), []
    for batch in loader:
        x = batch["input"]
        with torch.no_grad():
            target = judge(x).argmax(1)
        rank = method(judge, x, target, elements)
        mask = highest(rank[:, None], torch.full((len(x),), size))[:, 0]
        with torch.no_grad():
            wrong.append(judge(elements.hide(x, mask, "zero")).argmax(1) != batch["target"])
    return torch.cat(wrong)


@torch.no_grad()
def complete(model: nn.Module, loader: DataLoader) -> Tensor:
    """(N,) bool: whether the prediction for each complete input is wrong."""
    return torch.cat([model(batch["input"]).argmax(1) != batch["target"] for batch in loader])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", choices=sorted(MODELS))
    parser.add_argument("--images", type=int, help=f"of every row (default: {IMAGES})")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of trained runs")
    parser.add_argument("--train", action="store_true", help="train models that have neither a run nor a checkpoint")
    options = parser.parse_args()
    known = MODELS[options.data]
    data = create_data(Path("configs") / f"{known['Sum-of-Parts'][0]}.yaml")
    test = data.test_dataset()
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))  # pyright: ignore
    loader = DataLoader(Subset(test, order[: options.images or IMAGES[options.data]].tolist()), 32)
    domain = Domain.from_dict(data.domain)
    models = {name: found(*places, options.runs, options.train, domain) for name, places in known.items()}
    absent = {
        name: f"python train.py fit --config configs/{known[name][0]}.yaml"
        for name, model in models.items()
        if model is None
    }
    sop = models["Sum-of-Parts"]
    if not isinstance(sop, SumOfParts):
        raise SystemExit(f"no trained Sum-of-Parts: {absent['Sum-of-Parts']}, or pass --train.")
    judges = {"black box": models["black box"], "own backbone": Whole(sop).eval()}
    judges = {name: judge for name, judge in judges.items() if judge is not None}
    wrong = {f"{name}, complete inputs": complete(judge, loader) for name, judge in judges.items()}
    wrong |= {name: complete(model, loader) for name, model in models.items() if model and name not in judges}
    for name, method in METHODS.items():
        for kind, judge in judges.items():
            wrong[f"{kind} on the top 20 % by {name}"] = masked(judge, method, loader, sop.elements)
            print(f"{kind} on the top 20 % by {name}: {wrong[f'{kind} on the top 20 % by {name}'].double().mean():.3f}")
    share = sop.grouping.largest(sop.elements.count) / sop.elements.count
    text = page(options.data, wrong, absent, share)
    (HERE / f"PARTS_{options.data.upper()}.md").write_text(text)
    (HERE / f"PARTS_{options.data.upper()}.json").write_text(json.dumps(as_json(wrong), indent=1))
    print(text)


if __name__ == "__main__":
    main()
