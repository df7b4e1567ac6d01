"""What a network can be converted to: a table of models with the options that fit a frozen, trained backbone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from zoo.conversion.source import BlackBoxRun
from zoo.domain import Domain, ImageDomain
from zoo.utils.errors import did_you_mean

EPOCHS = 10
MOST_ATOMS = 1024
TITLES = {"active": "active atoms of a cell", "per_class": "weights of a class"}


@dataclass(frozen=True)
class Request:
    """What the options of a model depend on.

    Attributes:
        domain: of the data.
        black_box: to convert.
        head: of the target, one of its `heads`; None for its default.
        size: of the explanation; None for the default.
        epochs: of training.
        trial: only the score matters: examples of units are left out.
        scores: of concepts, a file of `train.py score-concepts` or "annotations".
    """

    domain: Domain
    black_box: BlackBoxRun
    head: str | None = None
    size: int | None = None
    epochs: int = EPOCHS
    trial: bool = False
    scores: str | None = None

    @property
    def channels(self) -> int:
        """d, of the features."""
        return self.black_box.network.backbone.channels

    @property
    def teacher(self) -> dict[str, Any]:
        """The teacher of the recipe, which gives backbone and head."""
        return {"run": str(self.black_box.run), "start": True, "weight": 0.0}


@dataclass(frozen=True)
class Target:
    """A model that a network can be converted to.

    Attributes:
        model: its key in the registry.
        about: what it is, for the help.
        arguments: of its constructor besides the domain, as plain data.
        heads: the heads to choose from, the default first; () if there is no choice.
        sizes: sizes of an explanation that `--budget` tries; () if there is no such size.
        needs: "images" or annotated "concepts", which the data must have; None if any will do.
        values: whether it also predicts values of regression.
        trains: whether the network itself is trained, so that its features cannot be kept.
    """

    model: str
    about: str
    arguments: Callable[[Request], dict[str, Any]]
    heads: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    needs: str | None = None
    values: bool = False
    trains: bool = False


def sparse_code(request: Request) -> dict[str, Any]:
    """Sparse codes of the features; `size` is the number of active atoms, of the sparse head that of weights."""
    head = request.head or "explaining"
    atoms = min(max(request.channels, 64), MOST_ATOMS)
    active = request.size if head != "sparse" and request.size else 8
    stages: list[Mapping[str, Any]] = [
        {"name": "centre"},
        {"name": "code", "epochs": request.epochs, "train": ["code"], "cosine": True},
    ]
    if head == "sparse":
        stages.append({"name": "sparsify", "per_class": request.size or 10})
    if not request.trial:
        stages.append({"name": "gallery"})
        stages += [{"name": "name_atoms"}] if request.domain.concepts else []
    stages.append({"name": "measure", "epochs": 1, "train": []})
    arguments = {
        "backbone": request.black_box.backbone,
        "code": {"kind": "batch_topk", "atoms": atoms, "active": min(active, atoms)},
        "head": head,
        "recipe": {"stages": stages, "lr": 0.003, "teacher": request.teacher},
    }
    if isinstance(request.domain, ImageDomain):
        arguments["thumbnail"] = min(max(min(request.domain.size) // 4, 16), 48)
    return arguments


def posthoc_cbm(request: Request) -> dict[str, Any]:
    """Annotated concepts as directions of the features, with a sparse head."""
    return {"backbone": request.black_box.backbone, "recipe": {"teacher": request.teacher}}


def labelfree(request: Request) -> dict[str, Any]:
    """Phrases as directions of the features, by scores of an image-text encoder, with a sparse head.

    Raises:
        ValueError: there are no scores.
    """
    if request.scores is None:
        raise ValueError(
            "labelfree needs scores of concepts for the training items. Write phrases to a file, one a line, run "
            "`python train.py score-concepts --help` for how to score images against them with CLIP, and give the "
            "result with --scores FILE (in Python: scores=...); or --scores annotations, the concepts of the data."
        )
    recipe = {"teacher": request.teacher}
    return {"backbone": request.black_box.backbone, "scores": request.scores, "recipe": recipe}


def direct_logit(request: Request) -> dict[str, Any]:
    """The network as it is, with its scores split over what its parts write."""
    return {"backbone": request.black_box.backbone, "recipe": {"teacher": request.teacher}}


def prototype_head(request: Request) -> dict[str, Any]:
    """Prototypes of patches with a sparse, non-negative head: the most accurate head of `benchmarks/RECIPES.md`."""
    stages = [
        {"name": "fit_components"},
        {"name": "train", "epochs": 2 * request.epochs, "train": ["project", "prototypes", "smooth", "head"]},
        {"name": "gallery"},
        {"name": "measure", "epochs": 1, "train": []},
    ]
    return {
        "backbone": request.black_box.backbone,
        "prototypes": 200,
        "projection": {"dim": min(256, request.channels), "components": min(192, request.channels)},
        "recipe": {
            "stages": stages,
            "coefficients": {"consistency": 0.0},  # features are kept of one view
            "teacher": request.teacher,
        },
    }


def bcos(request: Request) -> dict[str, Any]:
    """The network with B-cos layers in place of its own, all trained again; or as it is, with its biases as a unit."""
    assert isinstance(request.domain, ImageDomain)  # what the target needs
    exact = request.head == "exact"
    stage = {"name": "measure", "epochs": 1, "train": []}
    if not exact:
        stage = {"name": "train", "epochs": request.epochs, "train": ["backbone", "head"], "cosine": True}
    return {
        "backbone": request.black_box.backbone,
        "b": 1.0 if exact else 2.0,
        "biases": exact,
        "patch": max(round(min(request.domain.size) / 16), 1),
        "recipe": {"stages": [stage], "lr": 0.001, "teacher": request.teacher},
    }


TARGETS: dict[str, Target] = {
    "sparse_code": Target(
        "sparse_code",
        "features as sums of few learned atoms",
        sparse_code,
        heads=("explaining", "replacing", "sparse"),
        sizes=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32),
        values=True,
    ),
    "labelfree": Target("labelfree", "phrases as directions of the features, by --scores", labelfree),
    "posthoc_cbm": Target("posthoc", "annotated concepts as directions of the features", posthoc_cbm, needs="concepts"),
    "direct_logit": Target(
        "direct_logit", "scores of a transformer, split over its heads and MLPs", direct_logit, values=True
    ),
    "bcos": Target(
        "bcos",
        "the network with B-cos layers, a linear map for each image (--head exact: its own layers)",
        bcos,
        heads=("tuned", "exact"),
        needs="images",
        trains=True,
    ),
    "prototype_head": Target("protosvit", "prototypes of patches, few for a class", prototype_head, needs="images"),
}


def find_target(name: str, head: str | None, domain: Domain) -> Target:
    """A target by name.

    Raises:
        ValueError: there is none, it has no such head, or the data lack what it needs.
    """
    if name not in TARGETS:
        raise ValueError(f"a network cannot be converted to '{name}'; {did_you_mean(name, TARGETS)}")
    target = TARGETS[name]
    if head is not None and head not in target.heads:
        has = f"its heads are {', '.join(target.heads)}" if target.heads else "it has one head"
        raise ValueError(f"{name} has no head '{head}'; {has}.")
    if domain.task == "multilabel":
        raise ValueError("convert takes networks of classes or values; the task of these data is multilabel.")
    if domain.task == "regression" and (not target.values or head == "sparse"):
        known = ", ".join(key for key, one in TARGETS.items() if one.values)
        what = f"the head '{head}' of {name}" if target.values else name
        raise ValueError(f"{what} predicts classes, and the data have values; convert networks of values to {known}.")
    if target.needs == "concepts" and not domain.concepts:
        raise ValueError(f"{name} needs data with annotated concepts, and these have none; choose another target.")
    if target.needs == "images" and not isinstance(domain, ImageDomain):
        raise ValueError(f"{name} reads images, and the data are {domain.noun}; choose another target.")
    return target


def size_title(target: Target, head: str | None) -> str:
    """What the size of an explanation counts."""
    return TITLES["per_class" if head == "sparse" else "active"] if target.sizes else ""
