"""One small, ready model for every registered name; the contract suite fails for a name without one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

import zoo
from tests.small_code import code_domain
from tests.subwords import BERT, transformers, wordpiece
from zoo.core.module import SelfInterpretable
from zoo.domain import Domain, ImageDomain, SeriesDomain, TableDomain, TextDomain
from zoo.networks.image_backbones import without_pretrained_weights
from zoo.training.projection_set import ProjectionSet

IMAGES = ImageDomain(classes=("circle", "square", "star"), size=(12, 10), channels=3)


@dataclass
class Small:
    """A model, a batch of five inputs that it takes, and the units that may be removed one at a time."""

    model: SelfInterpretable
    inputs: Tensor


class RandomImages(Dataset):
    """Seeded noise with labels 0, 1, 2, 0, 1, ...; `name` tells each item's name."""

    def __init__(self, count: int = 9, domain: ImageDomain = IMAGES, seed: int = 0) -> None:
        self.inputs = torch.randn(count, *domain.shape, generator=torch.Generator().manual_seed(seed))
        self.targets = torch.arange(count) % len(domain.classes)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input": self.inputs[i], "target": self.targets[i]}

    def name(self, i: int) -> str:
        return f"noise-{i}.png"


def protopnet(similarity: str = "log") -> Small:
    model = zoo.create_model(
        "protopnet",
        domain=IMAGES,
        backbone={"name": "convnet", "widths": [8], "pool": [0]},
        prototypes_per_class=2,
        dim=6,
        similarity=similarity,
        thumbnail=16,
    ).eval()
    with torch.no_grad():  # untrained patches lie so close together that the log would magnify rounding
        for layer in (model.addon[0], model.addon[2]):
            layer.weight.mul_(4)
    model.push(ProjectionSet(RandomImages()))
    return Small(model, RandomImages(5, seed=1).inputs)


def prototree(**options: Any) -> Small:
    model = zoo.create_model(
        "prototree",
        domain=IMAGES,
        backbone={"name": "convnet", "widths": [8], "pool": [0]},
        depth=3,
        dim=6,
        thumbnail=16,
        **options,
    ).eval()
    with torch.no_grad():
        model.addon[0].weight.mul_(8)
        model.tree.leaves.copy_(torch.randn(model.tree.leaves.shape, generator=torch.Generator().manual_seed(0)) * 3)
    model.push(ProjectionSet(RandomImages()))
    return Small(model, RandomImages(5, seed=1).inputs)


def pipnet(**options: Any) -> Small:
    model = zoo.create_model(
        "pipnet",
        domain=IMAGES,
        backbone={"name": "convnet", "widths": [8], "pool": [0]},
        patches=3,
        thumbnail=16,
        **options,
    ).eval()
    with torch.no_grad():
        model.head.weight.copy_(torch.rand_like(model.head.weight).sub_(0.5).clamp_min(0))
    model.gallery(ProjectionSet(RandomImages()))
    return Small(model, RandomImages(5, seed=1).inputs)


def protosvit(**options: Any) -> Small:
    backbone = {"name": "convnet", "widths": [8], "pool": [0]}
    options = {"backbone": backbone, "prototypes": 5, "dim": 6, "patches": 3, "thumbnail": 16, **options}
    model = zoo.create_model("protosvit", domain=IMAGES, **options).eval()
    with torch.no_grad():
        model.head.weight.copy_(torch.rand_like(model.head.weight).sub_(0.5).clamp_min(0))
    model.gallery(ProjectionSet(RandomImages()))
    return Small(model, RandomImages(5, seed=1).inputs)


def probpsenn(**options: Any) -> Small:
    torch.manual_seed(0)
    model = zoo.create_model("probpsenn", domain=IMAGES, **{"widths": [6, 4], "samples": 7, **options}).eval()
    with torch.no_grad():
        model.encoder.layers[-1].weight.mul_(4)  # latent vectors that differ, among prototypes that all are near
        model.prototypes.mean.mul_(0.2)
    model.calibrate(ProjectionSet(RandomImages()))
    model.draw(ProjectionSet(RandomImages()))
    return Small(model, RandomImages(5, seed=1).inputs)


def protopool(**options: Any) -> Small:
    model = zoo.create_model(
        "protopool",
        domain=IMAGES,
        backbone={"name": "convnet", "widths": [8], "pool": [0]},
        pool=6,
        slots=2,
        dim=6,
        thumbnail=16,
        **options,
    ).eval()
    with torch.no_grad():
        model.addon[0].weight.mul_(8)
        model.head.weight.add_(torch.randn(model.head.weight.shape, generator=torch.Generator().manual_seed(0)) / 4)
        model.slots.affinity[:, 0, 3] += 9  # a prototype that all classes share
    model.harden(ProjectionSet(RandomImages()))
    model.push(ProjectionSet(RandomImages()))
    return Small(model, RandomImages(5, seed=1).inputs)


def halves(count: int = 5) -> Tensor:
    """Images whose halves are those of two training images: matches that rounding cannot change."""
    images = RandomImages().inputs
    x = images[:count].clone()
    x[:, :, :, 5:] = images[2 : count + 2, :, :, 5:]
    return x


def kcc(**options: Any) -> Small:
    options = {"exemplars": 3, "foreground": False, **options}
    backbone = {"name": "convnet", "widths": [8], "pool": [0]}
    model = zoo.create_model("kcc", domain=IMAGES, backbone=backbone, thumbnail=8, **options).eval()
    model.gather(ProjectionSet(RandomImages()))
    # Of a cluster of perfect matches, rounding decides which represents it; here that is always the same exemplar.
    return Small(model, RandomImages().inputs[:5] if model.clustered else halves())


def correspondence(**options: Any) -> Small:
    backbone = {"name": "convnet", "widths": [8], "pool": [0]}
    options = {"candidates": 6, "neighbours": 4, "pairs": 3, "per_class": 4, **options}
    model = zoo.create_model("correspondence", domain=IMAGES, backbone=backbone, thumbnail=8, **options).eval()
    model.gather(ProjectionSet(RandomImages()))
    return Small(model, halves())


CONCEPTS = ("round", "large", "red", "green", "blue")
ROWS = TableDomain(
    classes=IMAGES.classes,
    features=("width", "height", "hue"),
    concepts=CONCEPTS,
    concept_groups={"colour": CONCEPTS[2:]},
    exclusive=("colour",),
)


def rows_of_table(seed: int = 1) -> Tensor:
    return torch.randn(5, *ROWS.shape, generator=torch.Generator().manual_seed(seed))


def cbm(**options: Any) -> Small:
    model = zoo.create_model("cbm", domain=ROWS, backbone={"name": "mlp", "widths": [8]}, **options)
    return Small(model.eval(), rows_of_table())


def cem(name: str = "cem", **options: Any) -> Small:
    model = zoo.create_model(name, domain=ROWS, backbone={"name": "mlp", "widths": [8]}, width=3, **options)
    return Small(model.eval(), rows_of_table())


def cbm_of_images() -> Small:
    domain = replace(IMAGES, concepts=CONCEPTS)
    model = zoo.create_model("cbm", domain=domain, backbone={"name": "convnet", "widths": [8], "pool": [0]})
    return Small(model.eval(), RandomImages(5, seed=1).inputs)


def probcbm() -> Small:
    model = zoo.create_model(
        "probcbm",
        domain=replace(IMAGES, concepts=CONCEPTS),
        backbone={"name": "convnet", "widths": [8], "pool": [0]},
        width=4,
        class_width=6,
        samples=3,
    )
    return Small(model.eval(), RandomImages(5, seed=1).inputs)


def botcl(**options: Any) -> Small:
    model = zoo.create_model(
        "botcl",
        domain=IMAGES,
        backbone={"name": "convnet", "widths": [8], "pool": [0]},
        concepts=4,
        dim=8,
        gallery_size=2,
        thumbnail=8,
        **options,
    ).eval()
    model.gallery(ProjectionSet(RandomImages()))
    return Small(model, RandomImages(5, seed=1).inputs)


class AnnotatedRows(Dataset):
    """Seeded rows whose concepts are signs of their features and whose class depends on them."""

    def __init__(self, count: int = 60) -> None:
        self.inputs = torch.randn(count, 3, generator=torch.Generator().manual_seed(4))
        first = (self.inputs[:, :2] > 0).float()
        colour = torch.eye(3)[self.inputs.argmax(1)]
        self.concepts = torch.cat([first, colour], 1)
        self.targets = colour.argmax(1)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input": self.inputs[i], "target": self.targets[i], "concepts": self.concepts[i]}

    def name(self, i: int) -> str:
        return f"row {i}"


def labelfree(**options: Any) -> Small:
    options = {"scores": "annotations", "min_similarity": -1.0, "epochs": 5, **options}
    model = zoo.create_model("labelfree", domain=ROWS, backbone={"name": "mlp", "widths": [8]}, **options).eval()
    model.project(ProjectionSet(AnnotatedRows()))
    model.sparsify(ProjectionSet(AnnotatedRows()))
    return Small(model, rows_of_table())


def posthoc(**options: Any) -> Small:
    model = zoo.create_model(
        "posthoc", domain=ROWS, backbone={"name": "mlp", "widths": [8]}, epochs=5, **options
    ).eval()
    model.learn_bank(ProjectionSet(AnnotatedRows()))
    model.sparsify(ProjectionSet(AnnotatedRows()))
    if model.residual is not None:
        torch.nn.init.normal_(model.residual.weight)
    return Small(model, rows_of_table())


SENTENCES = TextDomain(
    classes=IMAGES.classes,
    concepts=("food: good", "food: bad", "noise: low", "noise: high"),
    concept_groups={"food": ("food: good", "food: bad"), "noise": ("noise: low", "noise: high")},
    exclusive=("food", "noise"),
    vocabulary=("good", "bad", "food", "loud", "quiet", "place"),
    length=7,
)


def c3m(**options: Any) -> Small:
    backbone = {"name": "transformer", "width": 8, "layers": 1, "heads": 2}
    model = zoo.create_model("c3m", domain=SENTENCES, backbone=backbone, **options).eval()
    texts = ("good food", "bad loud place", "quiet", "an unknown place !", "food food food food food food food food")
    return Small(model, torch.stack([SENTENCES.preprocess(text) for text in texts]))


def of_subwords(name: str, **options: Any) -> Small:
    """A model of texts on a text encoder of Hugging Face; skips where that is not installed."""
    transformers()
    torch.manual_seed(0)
    domain = replace(SENTENCES, vocabulary=(), tokenizer=wordpiece())
    model = zoo.create_model(name, domain=domain, backbone={"name": "hf", "config": BERT}, **options).eval()
    texts = (
        "good food",
        "bad loud place",
        "quiet",
        "an unbelievable place !",
        "food food food food food food food food",
    )
    return Small(model, torch.stack([domain.preprocess(text) for text in texts]))


def of_rows(name: str, **options: Any) -> Small:
    torch.manual_seed(0)
    return Small(zoo.create_model(name, domain=ROWS, **options).eval(), rows_of_table())


def rrl() -> Small:
    small = of_rows("rrl", rules=3, thresholds=2)
    with torch.no_grad():
        small.model.rules.conjunctions.mul_(2)  # some rules that are not empty
        small.model.rules.disjunctions.mul_(1.2)
    return small


def sop(domain: Domain = IMAGES, **options: Any) -> Small:
    """Sum-of-Parts with attention that is sharp enough for groups not to hang on rounding."""
    torch.manual_seed(0)
    defaults: dict[str, Any] = {"backbone": {"name": "convnet", "widths": [8], "pool": [0]}, "elements": {"patch": 2}}
    model = zoo.create_model("sop", domain=domain, **{**defaults, "groups": 6, **options}).eval()
    with torch.no_grad():
        model.head.weight.mul_(20)
        model.selector.classes.mul_(20)
    return Small(model, RandomImages(5, seed=1).inputs if domain is IMAGES else rows_of_table())


def sop_of_texts(**options: Any) -> Small:
    small = c3m()
    torch.manual_seed(0)
    backbone = {"name": "transformer", "width": 8, "layers": 1, "heads": 2}
    model = zoo.create_model("sop", domain=SENTENCES, backbone=backbone, groups=4, size=0.5, **options).eval()
    return Small(model, small.inputs)


SERIES = SeriesDomain(classes=IMAGES.classes, variables=("pulse", "pressure"), length=11)


def of_series(name: str, **options: Any) -> Small:
    torch.manual_seed(0)
    backbone = {"name": "convnet1d", "widths": [8, 8], "kernels": [4, 3]}
    model = zoo.create_model(name, domain=SERIES, backbone=backbone, elements={"patch": 3}, **options).eval()
    return Small(model, torch.randn(5, *SERIES.shape))


TINY_VIT = {"name": "vit_tiny_patch16_224", "patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}


def bagnet() -> Small:
    model = zoo.create_model("bagnet", domain=IMAGES, widths=[8, 16], depths=[1, 2], strides=[2, 1], wide=1).eval()
    return Small(model, RandomImages(5, seed=1).inputs)


def senn(**options: Any) -> Small:
    backbone = {"name": "convnet", "widths": [8], "pool": [0]}
    model = zoo.create_model("senn", domain=IMAGES, backbone=backbone, count=4, **options).eval()
    return Small(model, RandomImages(5, seed=1).inputs)


def prompts(model: SelfInterpretable) -> Small:
    texts = ("for a", "x = [1,", "if a:\n", "print(", "def f(a")
    return Small(model, torch.stack([model.domain.preprocess(text) for text in texts]))


def named_code_domain() -> Domain:
    """A domain of code whose first tokens are called like the classes of the other small models."""
    domain = code_domain()
    return replace(domain, classes=(*IMAGES.classes, *domain.classes[len(IMAGES.classes) :]))


def self_ablating(**options: Any) -> Small:
    torch.manual_seed(0)
    small = {"width": 16, "layers": 2, "head_width": 8, "k": 3, **options}
    return prompts(zoo.create_model("self_ablating", domain=named_code_domain(), **small).eval())


def sparse_transformer(**options: Any) -> Small:
    torch.manual_seed(0)
    small = {"width": 32, "layers": 2, "head_width": 8, "density": 0.25, **options}
    return prompts(zoo.create_model("sparse_transformer", domain=named_code_domain(), **small).eval())


def bridged_transformer() -> Small:
    small = sparse_transformer()
    sparse = {"width": 32, "layers": 2, "head_width": 8, "density": 0.25}
    dense = {**sparse, "width": 16, "density": 1.0, "activation_density": 1.0}
    with without_pretrained_weights():
        model = zoo.create_model("bridged_transformer", domain=small.model.domain, dense=dense, sparse=sparse)
    return Small(model.eval(), small.inputs)


SMALL: dict[str, Callable[[], Small]] = {
    "correspondence": correspondence,
    "kcc": lambda: kcc(keypoints=6),
    "probpsenn": probpsenn,
    "pipnet": pipnet,
    "protosvit": protosvit,
    "protopnet": protopnet,
    "prototree": prototree,
    "protopool": protopool,
    "botcl": botcl,
    "c3m": c3m,
    "cbm": cbm,
    "cem": cem,
    "intcem": lambda: cem("intcem", policy=[8]),
    "dcr": lambda: of_rows("dcr", backbone={"name": "mlp", "widths": [8]}, width=4),
    "labelfree": labelfree,
    "len": lambda: of_rows("len", backbone={"name": "mlp", "widths": [8]}, hidden=3),
    "posthoc": posthoc,
    "probcbm": probcbm,
    "rrl": rrl,
    "bagnet": bagnet,
    "senn": senn,
    "sop": sop,
    "sparse_transformer": sparse_transformer,
    "self_ablating": self_ablating,
    "bridged_transformer": bridged_transformer,
}
VARIANTS: dict[str, Callable[[], Small]] = {
    "correspondence-mutual": lambda: correspondence(matching="mutual", weights="uniform"),
    "correspondence-weighted": lambda: correspondence(vote="similarity", temperature=0.5, dim=4, per_class=2),
    "kcc-all": lambda: kcc(keypoints=0, exemplars=2, choice="nearest", dim=6, whiten=0.5),
    "kcc-foreground": lambda: kcc(exemplars=4, foreground=True, unit=False),
    "probpsenn-points": lambda: probpsenn(deviation=None),
    "probpsenn-several": lambda: probpsenn(prototypes_per_class=2),
    "pipnet-addon": lambda: pipnet(prototypes=5, tail=0),
    "protosvit-vit": lambda: protosvit(backbone={**TINY_VIT, "img_size": (12, 10)}),
    "protosvit-mean": lambda: protosvit(pooling="mean", kernel=1),
    "prototree-greedy": lambda: prototree(routing="greedy"),
    "prototree-max-path": lambda: prototree(routing="max_path"),
    "protopool-cosine": lambda: protopool(similarity="cosine"),
    "protopnet-cosine": lambda: protopnet("cosine"),
    "botcl-digits": lambda: botcl(supervision="reconstruction", attention="softmax", pooling="mean"),
    "labelfree-random": lambda: labelfree(scores="random"),
    "posthoc-hybrid": lambda: posthoc(residual=True),
    "posthoc-random": lambda: posthoc(bank="random"),
    "c3m-huggingface": lambda: of_subwords("c3m"),
    "c3m-softmax": lambda: c3m(bottleneck="softmax"),
    "cbm-images": cbm_of_images,
    "cbm-logit": lambda: cbm(bottleneck="logit"),
    "cbm-hard": lambda: cbm(bottleneck="hard"),
    "cbm-mlp": lambda: cbm(hidden=[4]),
    "self_ablating-global": lambda: self_ablating(gates="global"),
    "self_ablating-clean": lambda: self_ablating(stream="clean"),
    "sparse_transformer-plain": lambda: sparse_transformer(bigram=False, sink=False, positions="sinusoid"),
    "dense_transformer": lambda: sparse_transformer(density=1.0, activation_density=1.0),
    "senn-elements": lambda: senn(concepts="elements", elements={"patch": 3}),
    "senn-rows": lambda: of_rows("senn", backbone={"name": "mlp", "widths": [8]}, concepts="elements"),
    "sop-input": lambda: sop(select_by="input"),
    "sop-all": lambda: sop(anchors="all", elements={"patch": 5}),
    "sop-learned": lambda: sop(anchors="learned", heads=2),
    "sop-unscaled": lambda: sop(scale="none", gradient="straight_through", heads=2),
    "sop-blur": lambda: sop(fill="blur"),
    "sop-mean": lambda: sop(fill="mean"),
    "sop-token": lambda: sop(fill="token"),
    "sop-vit": lambda: sop(backbone=TINY_VIT, elements={}),
    "sop-vit-dropped": lambda: sop(backbone=TINY_VIT, elements={}, tokens="dropped"),
    "sop-rows": lambda: sop(ROWS, backbone={"name": "mlp", "widths": [8]}, elements={}, groups=3, size=2, blur=1),
    "sop-series": lambda: of_series("sop", groups=3, size=0.4),
    "sop-series-patch": lambda: of_series("sop", groups=3, size=0.4, projection="patch", fill="blur"),
    "senn-series": lambda: of_series("senn", concepts="elements"),
    "sop-texts": sop_of_texts,
    "sop-huggingface": lambda: of_subwords("sop", groups=4, size=0.5),
    "sop-texts-dropped": lambda: sop_of_texts(tokens="dropped"),
}
