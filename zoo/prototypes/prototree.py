"""ProtoTree: a decision tree whose nodes ask whether a prototypical part is present.

Nauta, van Bree, Seifert: "Neural Prototype Trees for Interpretable Fine-grained Image Recognition", CVPR 2021,
arXiv 2012.02046.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, ImageDomain
from zoo.networks.image_backbones import create_backbone
from zoo.prototypes.layers.image_input import require_grid, require_images
from zoo.prototypes.layers.prototype_layer import PrototypeLayer, create_addon
from zoo.prototypes.layers.similarity import EXPONENTIAL
from zoo.prototypes.layers.tree import Tree
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage, stage_at
from zoo.utils.checks import check_choice

ROUTINGS = ("soft", "greedy", "max_path")
RECIPE = Recipe(
    stages=(
        Stage("warm", epochs=30, train=("addon", "prototypes")),
        Stage("joint", epochs=70, train=("backbone", "addon", "prototypes"), decay_every=15, decay=0.5),
        Stage("prune"),
        Stage("push"),
        Stage("measure", epochs=1, train=()),
    ),
    lr={"backbone": 1e-5, "addon": 1e-3, "prototypes": 1e-3},
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"log_likelihood": 1.0},
)


@register(
    "prototree",
    modality="image",
    paper="Nauta et al., CVPR 2021",
    small=Small(
        {"depth": 3, "dim": 6, "thumbnail": 16},
        scale={"addon.0.weight": 4.0},
        draw={"tree.leaves": 3.0},
        variants={"greedy": Small({"routing": "greedy"}), "max-path": Small({"routing": "max_path"})},
    ),
)
class ProtoTree(SelfInterpretable):
    """Routes an image through a binary tree whose nodes ask: does a patch look like this prototype?

        z = addon(backbone(x))                       (B, D, h, w)   one 1x1 convolution, in [0, 1]
        p_n = exp(-min over cells of |z(cell) - q_n|)  (B, N)       presence of prototype n, N = 2^h - 1 (equation 1)
        π_l = product along the path to leaf l of p_n (right: present) or 1 - p_n (left: absent)    (equation 2)
        score = Σ_l π_l softmax(c_l)                 (B, C)         a probability                   (equation 3)

        loss = -log score of the label

    Backbone, add-on and prototypes learn by gradient. The leaves do not: over each epoch of M batches every leaf's c_l
    loses 1/M of the value that it had at the start of the epoch, and gains Σ_x softmax(c_l) y π_l / score, batch after
    batch (section 4.1, algorithm 1).

    Stages: warm → joint → prune → push → measure. `prune` cuts off subtrees whose leaves have no class above `tau`
    (section 4.2); `push` replaces each prototype by the nearest patch of the training images (section 4.3) whose class
    is the most probable one of a leaf below the node. After it a stage may train the add-on alone: each prototype stays
    the patch that it is, and moves with it through the add-on, which mends what the projection cost. A second `push`
    then finds the same patches, unless the classes below a node have changed.

    The model is not additive: a score is a product of answers, so explanations have no contributions. For each
    prototype they give how much of the image "reach"es its node, the "turn" of the path to the most probable leaf (1 to
    present, -1 to absent, 0 off the path), and the score if the prototype were "absent" or "present" (not with
    "max_path"); further that path in words, and as edges how much flows from node to node. With the routings "greedy"
    (each node decides by p_n >= 0.5) and "max_path" (only the most probable leaf), one path of at most h prototypes is
    the complete computation; "soft" weighs all leaves.

    Limits: the receptive field of a cell is larger than its box, so pixels outside the box can change an activation.

    Differs from the published code: routing and leaves are computed level by level for a complete batch; one Adam;
    under several processes the leaves learn from all of them; the convolution has a bias.

    Args:
        domain: meaning of inputs and outputs (`data.domain`).
        backbone: see `zoo.networks.image_backbones.create_backbone`.
        depth: h.
        dim: D, channels of prototypes.
        tau: threshold of `prune` in [0, 1), somewhat above 1 / C. By default 2 / C; for two classes 3 / 4.
        projection: the images that `push` searches: of the "classes" below each node, as in the published code, or
            "all", as in the paper.
        routing: "soft", "greedy" or "max_path", in evaluation; an option of `explain` too. Training is always soft.
        thumbnail: side in pixels of the stored pictures of prototypes.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, addon, prototypes.

    Raises:
        ValueError: a number out of range, an unknown routing, fewer than two classes, or inputs that are not images.
            In training: a tree of more leaves than there are training images.
    """

    additive = False
    space = "probability"
    adjustable = ("routing",)
    default_recipe = RECIPE
    former_names = PrototypeLayer.former_names
    domain: ImageDomain

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet50",
        depth: int = 9,
        dim: int = 256,
        tau: float | None = None,
        projection: Literal["classes", "all"] = "classes",
        routing: str = "soft",
        thumbnail: int = 64,
        recipe: Recipe | None = None,
    ) -> None:
        domain = require_images(domain, "ProtoTree")
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        classes = len(domain.classes)
        self.tau = min(2 / classes, (1 + 1 / classes) / 2) if tau is None else tau
        if not 1 <= depth <= 14 or dim < 1 or thumbnail < 1 or not 0 <= self.tau < 1:
            raise ValueError(
                "expected 1 <= depth <= 14, dim >= 1, thumbnail >= 1 and 0 <= tau < 1; got "
                f"depth={depth}, dim={dim}, thumbnail={thumbnail}, tau={self.tau}."
            )
        check_choice(ROUTINGS, routing=routing)
        check_choice(("classes", "all"), projection=projection)
        self.routing, self.projection = routing, projection
        self.tree = Tree(depth, classes)
        self.backbone = create_backbone(backbone, domain.channels)
        self.addon = create_addon(self.backbone.channels, dim, EXPONENTIAL, initialise=nn.init.xavier_normal_)
        vectors = 0.5 + 0.1 * torch.randn(self.tree.nodes, dim)
        self.prototypes = PrototypeLayer(vectors, EXPONENTIAL, domain.channels, thumbnail, following=True)

    # The computation

    def embed(self, x: Tensor) -> Tensor:
        """Images as patches (B, D, h, w)."""
        return self.addon(self.backbone(x))

    def evidence(self, x: Tensor) -> Evidence:
        moved = self.prototypes.moved(self.addon) if self.training else None
        exact = not self.training or moved is not None  # patches agree with themselves
        distances, nearest = self.prototypes.compare(self.embed(x), exact, moved)
        support = self.prototypes.support(distances) if self.places_wanted else None
        return Evidence(self.prototypes.similarity.of(nearest) * self.prototypes.alive, support)

    def readout(self, evidence: Evidence) -> Tensor:
        return self.tree.arrivals(self.answers(evidence)) @ self.tree.distributions()

    def answers(self, evidence: Evidence) -> Tensor:
        """(B, N) share of each image that each node sends to the right, by the routing."""
        answers = self.tree.cut(evidence.activation)
        if self.training or self.routing == "soft":
            return answers
        return (answers >= 0.5).float() if self.routing == "greedy" else self.tree.along(self.tree.best(answers))

    @contextmanager
    def adjusted(self, routing: str | None = None, **options: Any) -> Iterator[None]:
        """The model with another routing within the block.

        Raises:
            ValueError: an unknown routing.
        """
        before = self.routing
        if routing is not None:
            check_choice(ROUTINGS, routing=routing)
            self.routing = routing
        try:
            yield
        finally:
            self.routing = before

    # Explanation

    def edges(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What flows from each node to the nodes below it, in [0, 1]."""
        child = torch.arange(1, self.tree.nodes, device=target.device)
        return (child - 1) // 2, child, self.tree.reach(self.answers(evidence))[:, 1:]

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        answers = self.answers(evidence)
        reach, best = self.tree.reach(answers), self.tree.best(answers)
        turns = self.tree.turns(best) * (self.tree.cuts == 0)
        if self.routing == "max_path":  # other answers may make another leaf the most probable one
            return {"reach": reach, "turn": turns}
        absent, present = self.tree.alternatives(answers, reach, target)
        return {"reach": reach, "turn": turns, "absent": absent, "present": present}

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        """The path of each row: to its most probable leaf, or with greedy routing the path that is taken."""
        answers = self.tree.cut(terms["activation"])
        best = self.tree.best((answers >= 0.5).float() if self.routing == "greedy" else answers)
        probability, label = self.tree.distributions()[best].max(1)
        texts = []
        for row, leaf, p, c in zip(answers.tolist(), best.tolist(), probability.tolist(), label.tolist(), strict=True):
            steps = [
                f"node {n} {'present' if right else 'absent'} ({row[n]:.2f})"
                for n, right in self.tree.path(leaf)
                if self.prototypes.alive[n]
            ]
            texts.append(f"{' → '.join([*steps, f'leaf {leaf}'])}: {self.domain.classes[c]} {p:.2f}")
        return tuple(texts)

    def outline(self) -> dict[str, Any]:
        """The complete tree, see `Tree.outline`."""
        return self.tree.outline()

    # Training

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        if self.training:
            self._batch = self.tree.gain(self.tree.cut(evidence.activation.detach()), batch["target"])
        tiny = torch.finfo(scores.dtype).tiny
        return {"log_likelihood": F.nll_loss(scores.clamp_min(tiny).log(), batch["target"], batch.get("class_weights"))}

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._before = self.tree.leaves.clone()
        stage = stage_at(self.stages, self.current_epoch).stage
        self.prototypes.follow(stage, self.backbone, lambda: ProjectionSet.of(self.trainer, self.device, ""))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not stage_at(self.stages, self.current_epoch).stage.trained:
            return
        self.prototypes.keep(self.addon)
        if self.trainer.world_size > 1:
            dist.all_reduce(self._batch)
        self.tree.learn(self._batch, self._before / self.trainer.num_training_batches)

    def on_train_start(self) -> None:
        loader: Any = self.trainer.train_dataloader
        images = len(loader.dataset)
        if self.tree.count > images:
            raise ValueError(
                f"a tree of depth {self.tree.depth} has {self.tree.count} leaves, but there are {images} training "
                f"images; lower depth to {max(1, images.bit_length() - 1)} or less."
            )

    def on_stage_start(self, stage: Stage) -> None:
        self.prototypes.on_stage_start(stage)

    def check_recipe(self) -> None:
        require_grid(self.backbone, self.domain, "ProtoTree")
        self.prototypes.check_recipe(self.stages)

    @action
    def prune(self, projection_set: ProjectionSet) -> None:
        """Cuts off subtrees whose leaves have no class above `tau`; their images go to the other side."""
        self.prototypes.alive.copy_(self.tree.prune(self.tau))

    @action
    def push(self, projection_set: ProjectionSet) -> None:
        """Projects the prototypes onto the nearest patches of the training images, see `projection`."""
        users = self.tree.classes_below() if self.projection == "classes" else None
        self.prototypes.project(projection_set, self.domain, self.embed, users=users)

    # Prototypes

    def units(self) -> tuple[Unit, ...]:
        return self.prototypes.units(lambda n: (f"node {n}", None))

    def remove_prototypes(self, units: Iterable[str | int]) -> None:
        """Removes prototypes for good, by name or number, see `PrototypeLayer.remove`."""
        self.prototypes.remove(self.unit_index(unit) for unit in units)

    def require_ready(self) -> None:
        self.prototypes.require_pushed()
