"""Small, ready models for the contract suite: each is built from the `small` configuration of its registration.

`build("protopnet")` is the model, `build("protopnet", "cosine")` a variant; every registered name is also a function of
this module: `protopnet(similarity="cosine")`.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

import zoo
from tests.small_code import code_domain
from tests.subwords import BERT, wordpiece
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small as Settings
from zoo.core.registry import small_of
from zoo.domain import AudioDomain, Domain, GraphDomain, ImageDomain, SeriesDomain, TableDomain, TextDomain
from zoo.domain.image import pixel_names
from zoo.training.projection_set import ProjectionSet
from zoo.training.sparse_head import run_on

CONCEPTS = ("round", "large", "red", "green", "blue")
IMAGES = ImageDomain(classes=("circle", "square", "star"), size=(12, 10), channels=3)
ROWS = TableDomain(
    classes=IMAGES.classes,
    features=("width", "height", "hue"),
    concepts=CONCEPTS,
    concept_groups={"colour": CONCEPTS[2:]},
    exclusive=("colour",),
)
SENTENCES = TextDomain(
    classes=IMAGES.classes,
    concepts=("food: good", "food: bad", "noise: low", "noise: high"),
    concept_groups={"food": ("food: good", "food: bad"), "noise": ("noise: low", "noise: high")},
    exclusive=("food", "noise"),
    vocabulary=("good", "bad", "food", "loud", "quiet", "place"),
    length=7,
)
SERIES = SeriesDomain(classes=IMAGES.classes, variables=("pulse", "pressure"), length=11)
CLIPS = AudioDomain(classes=IMAGES.classes, rate=1000, seconds=0.2, bands=6, window=64, hop=16)
GRAPHS = GraphDomain(
    classes=IMAGES.classes, features=("charge", "element = C"), edge_features=("length",), nodes=5, edges=6
)
TEXTS = ("good food", "bad loud place", "quiet", "an unknown place !", "food food food food food food food food")
PROMPTS = ("for a", "x = [1,", "if a:\n", "print(", "def f(a")
TINY_VIT = {"name": "vit_tiny_patch16_224", "patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}
BACKBONES: dict[str, dict[str, Any]] = {
    "image": {"name": "convnet", "widths": [8], "pool": [0]},
    "table": {"name": "mlp", "widths": [8]},
    "text": {"name": "transformer", "width": 8, "layers": 1, "heads": 2},
    "series": {"name": "convnet1d", "widths": [8, 8], "kernels": [4, 3]},
    "audio": {"name": "audio_convnet", "timbre": [[4, 3]], "rhythm": [5], "width": 4, "channels": 8, "stride": 2},
    "graph": {"name": "gin", "width": 4},
}


@dataclass
class Small:
    """A model and a batch of five inputs that it takes."""

    model: SelfInterpretable
    inputs: Tensor


class RandomImages(Dataset):
    """Seeded noise with labels 0, 1, 2, 0, 1, ...; `name` gives each item's name."""

    def __init__(self, count: int = 9, domain: ImageDomain = IMAGES, seed: int = 0) -> None:
        self.inputs = torch.randn(count, *domain.shape, generator=torch.Generator().manual_seed(seed))
        self.targets = torch.arange(count) % len(domain.classes)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input": self.inputs[i], "target": self.targets[i]}

    def name(self, i: int) -> str:
        return f"noise-{i}.png"


class AnnotatedRows(Dataset):
    """Seeded rows whose concepts are signs of their features and whose class depends on them."""

    def __init__(self, count: int = 60, classes: int = 3) -> None:
        self.inputs = torch.randn(count, 3, generator=torch.Generator().manual_seed(4))
        first = (self.inputs[:, :2] > 0).float()
        colour = torch.eye(3)[self.inputs.argmax(1)]
        self.concepts = torch.cat([first, colour], 1)
        self.targets = colour.argmax(1).clamp_max(classes - 1)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input": self.inputs[i], "target": self.targets[i], "concepts": self.concepts[i]}

    def name(self, i: int) -> str:
        return f"row {i}"


class Examples(Dataset):
    """Inputs of any modality with labels 0, 1, 2, 0, 1, ..., or with `values` (N, C)."""

    def __init__(self, inputs: Tensor, values: Tensor | None = None) -> None:
        self.inputs, self.values = inputs, values

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        target = torch.tensor(i % 3) if self.values is None else self.values[i]
        return {"input": self.inputs[i], "target": target}


def halves(count: int = 5) -> Tensor:
    """Images whose halves are those of two training images: matches that rounding cannot change."""
    images = RandomImages().inputs
    x = images[:count].clone()
    x[:, :, :, 5:] = images[2 : count + 2, :, :, 5:]
    return x


def rows_of_table(seed: int = 1) -> Tensor:
    return torch.randn(5, *ROWS.shape, generator=torch.Generator().manual_seed(seed))


def named_code_domain() -> Domain:
    """A domain of code whose first tokens are called like the classes of the other small models."""
    domain = code_domain()
    return replace(domain, classes=(*IMAGES.classes, *domain.classes[len(IMAGES.classes) :]))


def domain_of(modality: str, concepts: bool, classes: int = 3, task: str = "classification") -> Domain:
    if modality == "code":
        return named_code_domain()
    domains = (IMAGES, ROWS, SENTENCES, SERIES, CLIPS, GRAPHS)
    domain: Domain = {one.modality: one for one in domains}[modality]
    if task == "restoration" and isinstance(domain, ImageDomain):
        names = pixel_names(domain.channels, *domain.size)
        given = (*domain.classes, *names[len(domain.classes) :])
        scale = {"mean": (0.5,) * 3, "std": (0.2,) * 3}  # values around [0, 1]
        return replace(domain, classes=given, task="regression", restored=True, **scale)
    domain = replace(domain, classes=domain.classes[-classes:], task=task)
    return replace(domain, concepts=CONCEPTS) if concepts and modality == "image" else domain


def inputs_of(domain: Domain, kind: str) -> Tensor:
    """Five inputs of a domain; `kind` as in `zoo.core.registry.Small.inputs`."""
    if domain.modality == "image":
        return {"training": RandomImages().inputs[:5], "halves": halves()}.get(kind, RandomImages(5, seed=1).inputs)
    if domain.modality == "table":
        return rows_of_table()
    if domain.modality in ("series", "audio"):
        return torch.randn(5, *domain.shape, generator=torch.Generator().manual_seed(1))
    if domain.modality == "graph":
        return domain.example(5, torch.Generator().manual_seed(1))
    texts = TEXTS if domain.modality == "text" else PROMPTS
    return torch.stack([domain.preprocess(text) for text in texts])  # pyright: ignore


def settings_of(name: str, variant: str = "") -> Settings:
    """The small configuration of a model, or of one of its variants with what it leaves out filled in."""
    base = small_of(name)
    if not variant:
        return base
    given = base.variants[variant]
    return Settings(
        {**base.options, **given.options},
        given.on or base.on,
        base.classes,
        base.task,
        given.inputs if given.inputs != "random" else base.inputs,
        {**base.scale, **given.scale},
        {**base.draw, **given.draw},
    )


def build(name: str, variant: str = "", domain: Domain | None = None, **options: Any) -> Small:
    """A small model, ready to explain; `options` go to its constructor besides those of its configuration."""
    entry, settings = zoo.core.registry.find(name), settings_of(name, variant)
    modality = settings.on or entry.modality[0]
    domain = domain or domain_of(modality, entry.family == "concepts", settings.classes, settings.task)
    parameters = inspect.signature(entry.cls.__init__).parameters
    defaults = {"backbone": BACKBONES[modality]} if "backbone" in parameters and modality in BACKBONES else {}
    torch.manual_seed(0)
    model = entry.cls(domain=domain, **{**defaults, **settings.options, **options}).eval()
    generator = torch.Generator().manual_seed(0)
    found = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for parameter, factor in settings.scale.items():
            if parameter in found:  # a variant may lack it
                found[parameter].mul_(factor)
        for parameter, deviation in settings.draw.items():
            found[parameter].copy_(torch.randn(found[parameter].shape, generator=generator) * deviation)
    for stage in model.stages:
        if stage.is_action:
            run_on(model, stage, ProjectionSet(training_set(domain)))
    return Small(model, inputs_of(domain, settings.inputs))


def training_set(domain: Domain) -> Dataset:
    """What the actions of a recipe run over."""
    if domain.modality == "image":
        return RandomImages()
    if domain.modality == "table":
        return AnnotatedRows(classes=len(domain.classes))
    x = inputs_of(domain, "random")
    if domain.task == "regression":
        return Examples(x, torch.randn(len(x), len(domain.classes), generator=torch.Generator().manual_seed(2)))
    return Examples(x)


def of_subwords(name: str, **options: Any) -> Small:
    """A model of texts on a text encoder of Hugging Face."""
    domain = replace(SENTENCES, vocabulary=(), tokenizer=wordpiece())
    return build(name, domain=domain, backbone={"name": "hf", "config": BERT}, **options)


def __getattr__(name: str) -> Callable[..., Small]:
    if name not in zoo.list_models():
        raise AttributeError(f"no registered model '{name}'")
    return partial(build, name)


SMALL: dict[str, Callable[[], Small]] = {name: partial(build, name) for name in zoo.list_models()}
VARIANTS: dict[str, Callable[[], Small]] = {
    f"{name}-{variant}": partial(build, name, variant) for name in SMALL for variant in small_of(name).variants
}
SUBWORDS: dict[str, Callable[[], Small]] = {
    "c3m-huggingface": partial(of_subwords, "c3m"),
    "sop-huggingface": partial(of_subwords, "sop", elements={}, grouping={"groups": 4, "size": 0.5}),
}
