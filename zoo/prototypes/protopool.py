"""ProtoPool: classes share a pool of prototypes, and each is assigned a few of them.

Rymarczyk, Struski, Górszczak, Lewandowska, Tabor, Zieliński: "Interpretable Image Classification with Differentiable
Prototypes Assignment", ECCV 2022, arXiv 2112.02902.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, ImageDomain
from zoo.networks.image_backbones import create_backbone
from zoo.prototypes.layers.assignment import PrototypeAssignment, overlap, sharpness_at
from zoo.prototypes.layers.image_input import require_grid, require_images
from zoo.prototypes.layers.prototype_layer import PrototypeLayer, create_addon, random_vectors
from zoo.prototypes.layers.similarity import find_similarity
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage, stage_at
from zoo.training.tasks import task_loss
from zoo.utils.functional import at_least_fp32

NAMED = 2  # classes that the name of a prototype lists
RECIPE = Recipe(
    stages=(
        Stage("warm", epochs=10, train=("addon", "prototypes", "slots")),
        Stage("joint", epochs=20, train=("backbone", "addon", "prototypes", "slots"), decay_every=5),
        Stage("harden"),
        Stage("push"),
        Stage("last", epochs=25, train=("head",)),
    ),
    lr={
        "backbone": 1e-4,
        "addon": 3e-3,
        "prototypes": 3e-3,
        "slots": 3e-3,
        "head": 1e-4,
    },
    weight_decay={"backbone": 1e-3, "addon": 1e-3},
    optimizer="adam",
    coefficients={
        "cross_entropy": 1.0,
        "cluster": 0.8,
        "separation": 0.08,
        "orthogonality": 1.0,
        "l1": 1e-4,
    },
)


@register(
    "protopool",
    modality="image",
    paper="Rymarczyk et al., ECCV 2022",
    small=Small(
        {"pool": 6, "slots": 2, "dim": 6, "thumbnail": 16},
        scale={"addon.0.weight": 3.0},
        variants={"cosine": Small({"similarity": "cosine"})},
    ),
)
class ProtoPool(SelfInterpretable):
    """Scores classes by prototypes of one pool, of which each class is assigned a few.

        z = addon(backbone(x))                             (B, D, h, w)  one 1x1 convolution, in [0, 1]
        s_m(cell) = log((d + 1) / (d + ε)), d = |z(cell) - p_m|²         of prototype m of M
        g_m = max over cells of s_m - mean over cells of s_m     (B, M)  the activation, focal similarity (section 3.2)
        q[c, k] in the simplex of M                     (C, K, M)  the assignment of slot k of class c (section 3.1)
        score_c = Σ_{c', k} W[c, (c', k)] Σ_m q[c', k, m] g_m             no bias; W starts at 1 own class, 0 others
                = Σ_m E[c, m] g_m                                         E = W q, (C, M): exact contributions

        q = softmax((σ a + η) / 0.5)      in training, a learned, η Gumbel noise, σ(epoch) = `sharpness` sqrt(t / T)
        q = one-hot of argmax a           from the action `harden` on; without noise before it

        loss = cross-entropy + 0.8 cluster + 0.08 separation + orthogonality + 1e-4 l1
        cluster       = mean_i min over prototypes assigned to the class, cells of d     (section 3.3)
        separation    = -mean_i min over the other prototypes, cells of d
        orthogonality = mean over slots of the sum of the cosines of q with the other slots of the class
        l1            = Σ |W| over slots of other classes

    Stages: warm → joint → harden → push → last. `harden` assigns one prototype to every slot and drops prototypes
    without a slot; `push` replaces each prototype by the nearest patch of the training images of its classes.
    After it a stage may train the add-on, with or without the head: prototypes stay the patches that they are, and move
    with them.

    Limits: the receptive field of a cell is larger than its box, so pixels outside the box can change an activation.

    Differs from the published code: slots mix similarities, as in the paper (there: distances), so that scores are sums
    over prototypes throughout training; the orthogonality is that of the distributions, as in the paper (there: of a);
    σ is that of the code, but epochs count from 1, because a does not learn at σ = 0; one Adam.

    Args:
        domain: meaning of inputs and outputs (`data.domain`).
        backbone: see `zoo.networks.image_backbones.create_backbone`.
        pool: M.
        slots: K, of each class; at most M - 1.
        dim: D, channels of prototypes.
        similarity: "log", or "cosine": s = z·p with z and p of unit length, and no sigmoid.
        sharpening_epochs: T, in which the assignment becomes sharp; t counts them from 1.
        sharpness: final value of σ.
        thumbnail: side in pixels of the stored pictures of prototypes.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, addon, prototypes, slots (the assignment),
            head.

    Raises:
        ValueError: a number out of range, fewer than two classes, or inputs that are not images. In training: a recipe
            that does not end with a hard assignment and pushed prototypes.
    """

    default_recipe = RECIPE
    former_names = PrototypeLayer.former_names
    domain: ImageDomain
    head: nn.Linear
    own: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        pool: int = 202,
        slots: int = 10,
        dim: int = 256,
        similarity: str = "log",
        sharpening_epochs: int = 30,
        sharpness: float = 1000.0,
        thumbnail: int = 64,
        recipe: Recipe | None = None,
    ) -> None:
        domain = require_images(domain, "ProtoPool")
        if not 1 <= slots < pool or dim < 1 or thumbnail < 1 or sharpening_epochs < 1 or sharpness <= 0:
            raise ValueError(
                "expected 1 <= slots < pool, dim, thumbnail and sharpening_epochs >= 1, and sharpness > 0; got "
                f"slots={slots}, pool={pool}, dim={dim}, thumbnail={thumbnail}, "
                f"sharpening_epochs={sharpening_epochs}, sharpness={sharpness}."
            )
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        classes, kind = len(domain.classes), find_similarity(similarity)
        self.sharpening_epochs, self.sharpness = sharpening_epochs, sharpness
        self.backbone = create_backbone(backbone, domain.channels)
        self.addon = create_addon(self.backbone.channels, dim, kind)
        vectors = random_vectors(pool, dim, kind)
        self.prototypes = PrototypeLayer(vectors, kind, domain.channels, thumbnail, free=("head",), following=True)
        start = sharpness_at(0, sharpening_epochs, sharpness)
        self.slots = PrototypeAssignment(classes, slots, pool, start)
        self.head = nn.Linear(classes * slots, classes, bias=False)
        own = F.one_hot(torch.arange(classes * slots) // slots, classes).T
        with torch.no_grad():
            self.head.weight.copy_(own)
        self.register_buffer("own", own.bool(), persistent=False)

    # The computation

    def embed(self, x: Tensor) -> Tensor:
        """Images as patches (B, D, h, w)."""
        return self.prototypes.patches(self.addon(self.backbone(x)))

    def evidence(self, x: Tensor) -> Evidence:
        moved = self.prototypes.moved(self.addon) if self.training else None
        exact = not self.training or moved is not None  # patches agree with themselves
        distances, nearest = self.prototypes.compare(self.embed(x), exact, moved)
        similarity, best = (self.prototypes.similarity.of(d) for d in (distances, nearest))
        # The mean with the recomputed value of the best cell.
        mean = similarity.mean((2, 3)) + (best - similarity.amax((2, 3))) / similarity[0, 0].numel()
        support = self.prototypes.support(distances) if self.places_wanted else None
        return Evidence((best - mean) * self.prototypes.alive, support, {"distance": nearest})

    def readout(self, evidence: Evidence) -> Tensor:
        return F.linear(evidence.activation, self.weights())

    def weights(self) -> Tensor:
        """Weights E (C, M) of prototypes for classes, through all slots that they are assigned to."""
        return at_least_fp32(self.head.weight) @ self.slots.sample().flatten(0, 1)

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        contributions = evidence.activation * self.weights()[target]
        return contributions, contributions.new_zeros(target.shape)

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        contributions = evidence.activation * self.weights().mean(0)
        return contributions, torch.zeros_like(contributions[:, 0])

    def slopes(self, evidence: Evidence) -> Tensor:
        return self.weights().T[None]

    # Training

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        own = self.slots.users()[batch["target"]]  # (B, M)
        distance = evidence.state["distance"].masked_fill(~self.prototypes.alive, torch.inf)
        return {
            "cross_entropy": task_loss(scores, batch["target"], self.domain, batch.get("class_weights")),
            "cluster": distance.masked_fill(~own, torch.inf).amin(1).mean(),
            "separation": -distance.masked_fill(own, torch.inf).amin(1).mean(),
            "orthogonality": overlap(self.slots.distributions()),
            "l1": self.head.weight.masked_fill(self.own, 0).abs().sum(),
        }

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.slots.sharpness.fill_(sharpness_at(self.current_epoch, self.sharpening_epochs, self.sharpness))
        stage = stage_at(self.stages, self.current_epoch).stage
        self.prototypes.follow(stage, self.backbone, lambda: ProjectionSet.of(self.trainer, self.device, ""))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.prototypes.keep(self.addon)

    def on_stage_start(self, stage: Stage) -> None:
        self.prototypes.on_stage_start(stage)
        if "slots" in stage.trained:
            self.slots.hard.fill_(False)
            self.prototypes.alive.fill_(True)

    @action
    def harden(self, projection_set: ProjectionSet) -> None:
        """Assigns its most probable prototype to every slot for good, and drops prototypes without a slot."""
        self.prototypes.alive.copy_(self.slots.harden().any(0))

    @action
    def push(self, projection_set: ProjectionSet) -> None:
        """Projects the prototypes onto the nearest patches of training images of the classes that use them.

        Raises:
            RuntimeError: the assignment is not hard, so it is not known which class uses which prototype.
        """
        self._require_hard()
        self.prototypes.project(projection_set, self.domain, self.embed, users=self.slots.users())

    def check_recipe(self) -> None:
        last = max((i for i, stage in enumerate(self.stages) if "slots" in stage.trained), default=-1)
        names = [stage.name for stage in self.stages[last + 1 :]]
        if "harden" not in names or "push" in names[: names.index("harden")]:
            raise ValueError(
                "at the end of this recipe slots are mixtures of prototypes: after the last stage that trains slots, "
                "add {name: harden}, before {name: push}."
            )
        require_grid(self.backbone, self.domain, "ProtoPool")
        self.prototypes.check_recipe(self.stages)

    # Prototypes

    def units(self) -> tuple[Unit, ...]:
        return self.prototypes.units(self._describe)

    def _describe(self, prototype: int) -> tuple[str, int | None]:
        users = self.slots.users()[:, prototype].nonzero().flatten().tolist() if self.slots.hard else []
        names = [self.domain.classes[c] for c in users[:NAMED]]
        if len(users) > NAMED:
            names.append(f"{len(users) - NAMED} more")
        name = f"prototype {prototype + 1}" + (f" of {', '.join(names)}" if users else "")
        return name, users[0] if len(users) == 1 else None

    def remove_prototypes(self, units: Iterable[str | int]) -> None:
        """Removes prototypes for good, by name or number, see `PrototypeLayer.remove`."""
        self.prototypes.remove(self.unit_index(unit) for unit in units)

    def require_ready(self) -> None:
        self._require_hard()
        self.prototypes.require_pushed()

    def _require_hard(self) -> None:
        if not self.slots.hard:
            raise RuntimeError(
                "the slots are mixtures of prototypes: train with a recipe in which {name: harden} comes before "
                "{name: push}, or call harden()."
            )
