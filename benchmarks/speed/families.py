"""The cost of self-interpretable models compared with their black box, and of explanations compared with predictions.

One or two models of each family and a black box with the same backbone, a small CNN on 64-pixel images (ResNet-34 at
224 pixels on CUDA), 50 classes. The black box is the backbone with a plain linear head. A training step is the forward
pass, the losses, the backward pass and the optimizer step. The prediction is `forward`; the explanation is `explain`,
with names and all terms. Both give the same scores.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

import zoo
from benchmarks.harness import Case, Goal
from zoo.circuits import SparseTransformer
from zoo.core.module import SelfInterpretable
from zoo.data.base.tokenized import train_tokenizer
from zoo.data.synthetic.idioms import documents
from zoo.domain import CodeDomain, ImageDomain
from zoo.training.batch import Batch
from zoo.training.black_box import BlackBox
from zoo.training.projection_set import ProjectionSet
from zoo.training.staged_module import StagedModule

CLASSES, CONCEPTS = 50, 112
MODELS: dict[str, dict[str, Any]] = {
    "protopnet": {"thumbnail": 8},
    "pipnet": {"prototypes": 256, "tail": 0, "thumbnail": 8},
    "prototree": {"depth": 7, "dim": 64, "thumbnail": 8},
    "cbm": {},
    "cem": {},
    "sop": {"grouping": {"groups": 8, "size": 0.25}, "elements": {"patch": 8}},
    "bagnet": {"widths": [32, 64, 128], "depths": [1, 1, 1], "strides": [2, 2, 1], "wide": 1},
}


class Noise(Dataset):
    """Seeded images, one of each class after the other, with all that any model learns from."""

    def __init__(self, domain: ImageDomain, count: int) -> None:
        draw = torch.Generator().manual_seed(0)
        self.input, self.view = torch.randn(2, count, *domain.shape, generator=draw)
        self.target = torch.arange(count) % len(domain.classes)
        self.concepts = torch.randint(0, 2, (count, CONCEPTS), generator=draw).float()

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, i: int) -> Batch:
        return {name: getattr(self, name)[i] for name in ("input", "view", "target", "concepts")}

    def name(self, i: int) -> str:
        return f"noise-{i}"


def step_of(model: StagedModule, batch: Batch) -> Callable[[], None]:
    """A training step of the stage that trains most."""
    groups = model.groups()
    names = max((stage.trained for stage in model.stages), key=len)
    learning = [p for name in names for p in _parameters(groups[name])]
    optimizer = torch.optim.Adam(learning, lr=1e-4)

    def step() -> None:
        model.train()
        optimizer.zero_grad()
        scores, evidence = model.step(batch["input"])
        terms = model.losses(scores, evidence, batch)
        torch.stack([model.coefficients[name] * term for name, term in terms.items()]).sum().backward()
        optimizer.step()

    return step


def _parameters(group: Any) -> list[Tensor]:
    return [group] if isinstance(group, Tensor) else list(group.parameters())


@torch.no_grad()
def predict(model: StagedModule, x: Tensor) -> Tensor:
    return model(x)


def explain(model: SelfInterpretable, x: Tensor) -> Tensor:
    return model.explain(x).scores


def beside(name: str, model: SelfInterpretable, twin: StagedModule, batch: Batch) -> Iterator[Case]:
    """The three cases of a model."""
    x = batch["input"]
    steps = {"zoo": step_of(model, batch), "black box": step_of(twin, batch)}
    yield Case(f"training step of {name}", steps, cost=True, apart=None)
    model.eval(), twin.eval()
    passes = {"zoo": partial(predict, model, x), "black box": partial(predict, twin, x)}
    yield Case(f"prediction of {name}", passes, cost=True, apart=None)
    own = {"explain": partial(explain, model, x), "predict": partial(predict, model, x)}
    yield Case(f"explanation of {name}", own, "explain", cost=True, goal=Goal(at_most=1.15), apart=1e-6)


def images(device: torch.device) -> Iterator[Case]:
    gpu = device.type == "cuda"
    side, size = (224, 80) if gpu else (64, 32)
    backbone = {"name": "resnet34"} if gpu else {"name": "convnet", "widths": [32, 64, 128], "pool": [0, 1, 2]}
    names = [f"concept {i}" for i in range(CONCEPTS)]
    plain = ImageDomain(classes=tuple(f"class {c}" for c in range(CLASSES)), size=(side, side))
    data = Noise(plain, max(size, 10 * CLASSES))
    batch = {key: torch.stack([data[i][key] for i in range(size)]).to(device) for key in data[0]}
    for name, options in MODELS.items():
        torch.manual_seed(0)
        domain = replace(plain, concepts=tuple(names)) if name in ("cbm", "cem") else plain
        own = {} if name == "bagnet" else {"backbone": backbone}
        model = zoo.create_model(name, domain=domain, **own, **options).to(device)
        for act in ("push", "gallery"):
            if hasattr(model, act):
                getattr(model, act)(ProjectionSet(data, device=device))
        yield from beside(name, model, BlackBox(domain, backbone=backbone).to(device), batch)  # pyright: ignore


def programs(device: torch.device) -> Iterator[Case]:
    gpu = device.type == "cuda"
    size, width, layers = (64, 512, 8) if gpu else (16, 128, 2)
    domain = CodeDomain(tokenizer=train_tokenizer(islice(documents("speed"), 500), 768), length=96)
    x = domain.example(size, torch.Generator().manual_seed(0)).to(device)
    build = partial(SparseTransformer, domain, width=width, layers=layers)
    model = build(sparsity={"density": 1 / 16}).to(device).eval()
    dense = build(sparsity={"density": 1.0, "activation_density": 1.0}).to(device).eval()
    for network in (model, dense):
        network.averaged.fill_(True)
    passes = {"zoo": partial(predict, model, x), "dense transformer": partial(predict, dense, x)}
    yield Case("prediction of sparse_transformer", passes, cost=True, apart=None)
    own = {"explain": partial(explain, model, x), "predict": partial(predict, model, x)}
    yield Case("explanation of sparse_transformer", own, "explain", cost=True, goal=Goal(at_most=1.15), apart=1e-6)


def cases(device: torch.device) -> Iterator[Case]:
    yield from images(device)
    yield from programs(device)
