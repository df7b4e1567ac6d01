"""ProtoTree: a decision tree that asks at every node whether a prototypical part is there.

Nauta, van Bree, Seifert: "Neural Prototype Trees for Interpretable Fine-grained Image Recognition", CVPR 2021,
arXiv 2012.02046.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, ImageDomain
from zoo.networks.image_backbones import create_backbone
from zoo.prototypes.layers.projected import Pushed
from zoo.prototypes.layers.tree import Tree
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage, stage_at
from zoo.utils.functional import distances_at, squared_distances

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
        scale={"addon.0.weight": 8.0},
        draw={"tree.leaves": 3.0},
        variants={"greedy": Small({"routing": "greedy"}), "max-path": Small({"routing": "max_path"})},
    ),
)
class ProtoTree(Pushed, SelfInterpretable):
    """Routes an image through a binary tree whose nodes ask: does a patch look like this prototype?

        z = addon(backbone(x))                       (B, D, h, w)   one 1x1 convolution, in [0, 1]
        p_n = exp(-min over cells of |z(cell) - q_n|)  (B, N)       presence of prototype n, N = 2^h - 1 (equation 1)
        π_l = product along the path to leaf l of p_n (right: present) or 1 - p_n (left: absent)    (equation 2)
        score = Σ_l π_l softmax(c_l)                 (B, C)         a probability                   (equation 3)

        loss = -log score of the label

    Backbone, add-on and prototypes learn by gradient. The leaves do not: over each epoch of M batches every leaf's c_l
    loses 1/M of the value that it had at the start of the epoch, and gains Σ_x softmax(c_l) y π_l / score, batch after
    batch (section 4.1, algorithm 1).

    Stages: warm → joint → prune → push → measure. `prune` cuts off subtrees whose leaves all have no class above `tau`
    (section 4.2); `push` replaces each prototype by the nearest patch of any training image (section 4.3).

    The score is a product of answers, no sum, so that there are no contributions. An explanation has for each prototype
    how much of the image "reach"es its node, whether the path to the likeliest leaf has a "turn" there (1 to present,
    -1 to absent, 0 off the path), and the score if it were "absent" or "present" (not with "max_path"); that path in
    words; and as edges how much flows from node to node. With the routings "greedy" (each node decides by p_n >= 0.5)
    and "max_path" (only the likeliest leaf), one path of at most h prototypes is the whole computation; "soft" weighs
    all leaves.

    How this differs from the official code: routing and leaves are computed level by level for the whole batch; one
    Adam; under several processes the leaves learn from all of them. What the explanation does not promise: the
    receptive field of a cell is larger than its box.

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: see `zoo.networks.image_backbones.create_backbone`.
        depth: h.
        dim: D, channels of prototypes.
        tau: in [0, 1), for `prune`; somewhat above 1 / C. By default 2 / C, of two classes 3 / 4.
        routing: "soft", "greedy" or "max_path", of evaluation; an option of `explain` too. Training is soft.
        thumbnail: side in pixels of the stored pictures of prototypes.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, addon, prototypes.

    Raises:
        ValueError: a number out of range, an unknown routing, fewer than two classes, or inputs that are no images.
            In training: a tree of more leaves than there are training images.
    """

    additive = False
    space = "probability"
    adjustable = ("routing",)
    default_recipe = RECIPE

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet50",
        depth: int = 9,
        dim: int = 256,
        tau: float | None = None,
        routing: str = "soft",
        thumbnail: int = 64,
        recipe: Recipe | None = None,
    ) -> None:
        domain = Domain.from_dict(domain)
        classes = len(domain.classes)
        if not isinstance(domain, ImageDomain) or classes < 2 or domain.task != "classification":
            raise ValueError(
                f"ProtoTree classifies images into two or more classes; got {classes} of modality '{domain.modality}' "
                f"for a {domain.task}."
            )
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        self.tau = min(2 / classes, (1 + 1 / classes) / 2) if tau is None else tau
        if not 1 <= depth <= 14 or dim < 1 or thumbnail < 1 or not 0 <= self.tau < 1:
            raise ValueError(
                "expected 1 <= depth <= 14, dim >= 1, thumbnail >= 1 and 0 <= tau < 1; got "
                f"depth={depth}, dim={dim}, thumbnail={thumbnail}, tau={self.tau}."
            )
        self.routing = _check_routing(routing)
        self.tree = Tree(depth, classes)
        self.backbone = create_backbone(backbone, self.domain.channels)
        self.addon = nn.Sequential(nn.Conv2d(self.backbone.channels, dim, 1), nn.Sigmoid())
        self.prototypes = nn.Parameter(0.5 + 0.1 * torch.randn(self.tree.nodes, dim))
        self.start_prototypes(self.tree.nodes, self.domain.channels, thumbnail)

    # The computation

    def embed(self, x: Tensor) -> Tensor:
        return self.addon(self.backbone(x))

    def vectors(self) -> Tensor:
        return self.prototypes

    def similarity(self, distances: Tensor) -> Tensor:
        """Presence in [0, 1] of squared distances."""
        return torch.exp(-torch.sqrt(distances + 1e-12))

    def evidence(self, x: Tensor) -> Evidence:
        z = self.embed(x)
        distances = squared_distances(z, self.prototypes)  # (B, N, h, w)
        nearest, cell = distances.flatten(2).min(2)  # (B, N)
        support = None
        if not self.training:
            nearest = distances_at(z, self.prototypes, cell)
            support = self.similarity(distances) * self.alive[:, None, None]
        return Evidence(self.similarity(nearest) * self.alive, support)

    def readout(self, evidence: Evidence) -> Tensor:
        return self.tree.arrivals(self.answers(evidence)) @ self.tree.distributions()

    def answers(self, evidence: Evidence) -> Tensor:
        """(B, N) how much of an image each node sends to the right, by the routing."""
        answers = self.tree.cut(evidence.activation)
        if self.training or self.routing == "soft":
            return answers
        return (answers >= 0.5).float() if self.routing == "greedy" else self.tree.along(self.tree.best(answers))

    @contextmanager
    def adjusted(self, routing: str | None = None) -> Iterator[None]:
        """The model with another routing for the moment.

        Raises:
            ValueError: an unknown one.
        """
        before, self.routing = self.routing, self.routing if routing is None else _check_routing(routing)
        try:
            yield
        finally:
            self.routing = before

    # Explanation

    def describe(self, prototype: int) -> tuple[str, None]:
        return f"node {prototype}", None

    def edges(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What flows from each node to the nodes below it, in [0, 1]."""
        child = torch.arange(1, self.tree.nodes, device=target.device)
        return (child - 1) // 2, child, self.tree.reach(self.answers(evidence))[:, 1:]

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        answers = self.answers(evidence)
        reach, best = self.tree.reach(answers), self.tree.best(answers)
        turns = self.tree.turns(best) * (self.tree.cuts == 0)
        if self.routing == "max_path":  # of which leaf is the likeliest, other answers may make another one
            return {"reach": reach, "turn": turns}
        absent, present = self.tree.alternatives(answers, reach, target)
        return {"reach": reach, "turn": turns, "absent": absent, "present": present}

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        """The path of each row: that to its likeliest leaf, or with greedy routing the one that is taken."""
        answers = self.tree.cut(terms["activation"])
        best = self.tree.best((answers >= 0.5).float() if self.routing == "greedy" else answers)
        probability, label = self.tree.distributions()[best].max(1)
        texts = []
        for row, leaf, p, c in zip(answers.tolist(), best.tolist(), probability.tolist(), label.tolist(), strict=True):
            steps = [
                f"node {n} {'present' if right else 'absent'} ({row[n]:.2f})"
                for n, right in self.tree.path(leaf)
                if self.alive[n]
            ]
            texts.append(f"{' → '.join([*steps, f'leaf {leaf}'])}: {self.domain.classes[c]} {p:.2f}")
        return tuple(texts)

    def outline(self) -> dict[str, Any]:
        """The whole tree, see `Tree.outline`."""
        return self.tree.outline()

    # Training

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        if self.training:
            self._batch = self.tree.gain(self.tree.cut(evidence.activation.detach()), batch["target"])
        tiny = torch.finfo(scores.dtype).tiny
        return {"log_likelihood": F.nll_loss(scores.clamp_min(tiny).log(), batch["target"])}

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._before = self.tree.leaves.clone()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not stage_at(self.stages, self.current_epoch).stage.trained:
            return
        if self.trainer.world_size > 1:
            dist.all_reduce(self._batch)
        self.tree.learn(self._batch, self._before / self.trainer.num_training_batches)

    def on_train_start(self) -> None:
        images = len(self.trainer.train_dataloader.dataset)  # pyright: ignore
        if self.tree.count > images:
            raise ValueError(
                f"a tree of depth {self.tree.depth} has {self.tree.count} leaves, but there are {images} training "
                f"images; lower depth to {max(1, images.bit_length() - 1)} or less."
            )

    @action
    def prune(self, projection_set: ProjectionSet) -> None:
        """Cuts off subtrees whose leaves all have no class above `tau`; their images go to the other side."""
        self.alive.copy_(self.tree.prune(self.tau))

    @action
    def push(self, projection_set: ProjectionSet) -> None:
        """Projects the prototypes onto the nearest patches of all training images."""
        self.prototypes.copy_(self.project(projection_set))


def _check_routing(routing: str) -> str:
    if routing not in ROUTINGS:
        raise ValueError(f"routing must be one of {', '.join(ROUTINGS)}; got '{routing}'.")
    return routing
