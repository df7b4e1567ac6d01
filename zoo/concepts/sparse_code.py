"""Sparse codes: the features of a frozen network as a sum of few learned atoms, and an exact linear score of them.

Sparse autoencoders as a bottleneck of a classifier: Gao et al., ICLR 2025, arXiv 2406.04093, and the papers named in
`zoo.concepts.layers.sparse_codes`; codes of the cells of a map as in Fel et al.: "Archetypal SAE", ICML 2025,
arXiv 2502.12892. Sparse head: Wong et al., ICML 2021.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.concepts.layers.atom_names import AtomNames
from zoo.concepts.layers.atom_units import atom_units
from zoo.concepts.layers.cells import cells_of, has_cells
from zoo.concepts.layers.code_kinds import make_dictionary
from zoo.concepts.layers.code_metrics import CodeMetrics
from zoo.concepts.layers.code_recipe import check_stages, code_recipe
from zoo.concepts.layers.dictionary_files import start_from
from zoo.concepts.layers.dictionary_start import measure
from zoo.concepts.layers.gallery import Gallery
from zoo.concepts.layers.paired import common_atoms, contrast, partners
from zoo.concepts.layers.projection import collect
from zoo.concepts.layers.residual import residual_statements
from zoo.concepts.layers.sparse_codes import CodeOptions
from zoo.concepts.layers.token_examples import TokenExamples
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.core.training_examples import TrainingExamples
from zoo.core.unit_cache import UnitCache
from zoo.domain import Domain, ImageDomain, TextDomain
from zoo.networks.encoders import create_encoder
from zoo.networks.image_backbones import Backbone, create_backbone
from zoo.networks.target_units import in_target_units
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe, parse_recipe
from zoo.training.stages import Stage
from zoo.training.tasks import check_classification, score_space, task_loss
from zoo.utils.checks import check_at_least, check_between, check_choice
from zoo.utils.functional import at_least_fp32
from zoo.utils.options import parse_options

HEADS = ("replacing", "explaining", "sparse")
DENSE = Recipe(stages=(Stage("centre"), Stage("gallery"), Stage("last", epochs=1, train=("head",))))  # of a small model


@register(
    "sparse_code",
    modality=("image", "table", "text", "series", "audio"),
    paper="Gao et al., ICLR 2025 (TopK); Costa et al., NeurIPS 2025 (matching pursuit)",
    small=Small(
        {"code": {"atoms": 6, "active": 2}, "gallery_size": 2, "thumbnail": 8},
        variants={
            "explaining": Small({"head": "explaining", "code": {"kind": "batch_topk", "atoms": 6, "active": 2}}),
            "sparse": Small({"head": "sparse", "code": {"kind": "jumprelu", "atoms": 6}, "recipe": DENSE}),
            "table": Small({"code": {"kind": "snmf", "atoms": 6}}, on="table"),
            "text": Small({"head": "explaining", "code": {"atoms": 6, "active": 2, "archetypes": 4}}, on="text"),
            "series": Small({"code": {"kind": "mp", "atoms": 6, "active": 3}}, on="series"),
        },
    ),
)
class SparseCode(SelfInterpretable):
    """Writes the features of a frozen backbone as sums of few atoms, and scores classes linearly from the atoms.

        f_p = backbone(x)                     (B, P, d)      features of P cells; one vector where there are none
        f̂_p = z_p D + b, z_p >= 0 sparse      (B, m)         atoms D (m, d) of unit length, see `CodeOptions`
        z = mean over cells of z_p            (B, m)         activation; z_p, relative to its largest, is the support
        head "replacing":   score_c = ⟨w_c, mean f̂_p⟩ + a_c = Σ_k z_k ⟨w_c, D_k⟩ + ⟨w_c, b⟩ + a_c
        head "explaining":  score_c = ⟨w_c, mean f_p⟩ + a_c = the same + ⟨w_c, mean (f_p - f̂_p)⟩
        head "sparse":      score_c = Σ_k z_k V_ck + v_c

    Cells are places of an image's map, tokens of a text, or steps of a series or clip, if the backbone has a state for
    each; padding is none. w and a are the linear head of a black box with average pooling. "replacing": what atoms do
    not code is lost to the score. "explaining" keeps the scores of the black box; what the atoms miss is the unit
    "residual", of activation 1, and each explanation says how much that is. "sparse": V has at most `per_class` weights
    for each class. At a cell, atom k contributes z_pk ⟨w_c, D_k⟩ / P, exactly. The support of the residual is the size
    of the error at each cell; its contribution has no exact map.

    Start from a trained black box by `teacher: {run: ..., start: true, weight: 0}` of the recipe, which sets backbone
    and head; without one, the first stage trains the head. Then the action `centre` measures mean and scale of the
    features, a stage trains the code without labels, and `gallery` stores the top-activating training examples of each
    atom; an atom of texts is named by the tokens at which it is strongest. The action `name_atoms`, for data with
    annotated concepts, names each atom by the concept that it ranks best. Nothing trains the backbone, so the run
    option `cache_features` applies; of texts it keeps the state of each token.

    Loss terms: reconstruction (relative squared error of a cell); sparsity (kinds "vanilla" and "jumprelu"); auxiliary
    (the other kinds: dead atoms learn from the error, see `Dictionary`); contrast (of pairs, see
    `zoo.concepts.layers.paired`); task. Metrics: see `CodeMetrics`.

    Differs from the published codes: atoms are normalised at each use, and the encoder never shares memory with them;
    features are centred and scaled once, on the training set; `active` of BatchTopK counts atoms for each cell, and its
    threshold is part of the checkpoint; matching pursuit starts from x - b, only adds atoms, and revives dead atoms
    like TopK; dead is what was not used for some steps (there: tokens).

    Args:
        domain: what inputs and outputs mean (`data.domain`).
        backbone: see `zoo.networks.image_backbones.create_backbone`, for data other than images
            `zoo.networks.encoders.create_encoder`; frozen.
        code: see `zoo.concepts.layers.sparse_codes.CodeOptions`.
        head: "replacing", "explaining" or "sparse".
        gallery_size: number of training examples for each atom.
        thumbnail: side of their pictures, in pixels.
        least_auc: area under the ROC curve from which a concept names an atom; concepts that occur together rank alike.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, code, head.

    Raises:
        ValueError: an unknown choice, a number out of range, or a sparse head for regression.
    """

    reference = "runner-up"
    sparse_ridge = 0.01  # of 1e-4 to 0.1 the best on validation data of part birds: 94.8 % with 20 weights, not 93.8 %
    default_recipe = code_recipe("topk", "replacing", own_head=True)

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet18",
        code: CodeOptions | None = None,
        head: Literal["replacing", "explaining", "sparse"] = "replacing",
        gallery_size: int = 4,
        thumbnail: int = 48,
        least_auc: float = 0.95,
        recipe: Recipe | None = None,
    ) -> None:
        options = parse_options(CodeOptions, code, "code")
        check_choice(HEADS, head=head)
        own_head = head != "sparse" and not ((teacher := parse_recipe(recipe).teacher) and teacher.start)
        super().__init__(domain, recipe, default_recipe=code_recipe(options.kind, head, own_head))
        self.keep_arguments(locals())
        if head == "sparse":
            check_classification(self.domain, "SparseCode with a sparse head")
        check_at_least(1, gallery_size=gallery_size, thumbnail=thumbnail)
        check_between(0.5, 1, least_auc=least_auc)
        self.head_kind, self.least_auc, atoms = head, least_auc, options.atoms
        if isinstance(self.domain, ImageDomain):
            self.backbone = create_backbone(backbone, self.domain.channels)
            self.images = Gallery(atoms, self.domain.channels, gallery_size, thumbnail)
        else:
            self.backbone = create_encoder(backbone, self.domain)
            tokens = isinstance(self.domain, TextDomain) and has_cells(self.backbone)
            made = TokenExamples(atoms, gallery_size) if tokens else None
            self.images = made or TrainingExamples(atoms, gallery_size, cells=False)
        self.caches_states = has_cells(self.backbone)
        self.code = make_dictionary(self.backbone.channels, options)
        start_from(self.code)
        width = atoms if head == "sparse" else self.backbone.channels
        self.head = in_target_units(nn.Linear(width, len(self.domain.classes)), self.domain)
        self.names, self._units = AtomNames(atoms), UnitCache()
        self.code_metrics = CodeMetrics(atoms, head == "replacing" and self.domain.task == "classification")
        self.space = score_space(self.domain)

    @classmethod
    def offline_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        given = super().offline_arguments(arguments)
        return {**given, "code": replace(parse_options(CodeOptions, given.get("code"), "code"), source=None)}

    # The computation

    def evidence(self, x: Tensor) -> Evidence:
        cells = cells_of(self.backbone, x)
        coded = cells.code(self.code)
        code, error = coded.code, coded.error
        power = ((cells.features - self.code.mean) / self.code.scale).square().sum(2)
        state = {"error": cells.mean(error), "power": cells.mean(power), "penalty": cells.mean(coded.penalty)}
        state |= {"active": cells.mean((code > 0).sum(2).float()), "auxiliary": coded.auxiliary.expand(x.shape[0])}
        activation, maps = cells.mean(code), code
        if self.head_kind != "sparse":
            state["black_box"] = self.head(cells.mean(cells.features))
        if self.head_kind == "explaining":
            state["residual"] = state["black_box"] - F.linear(activation, *self.linear())  # ⟨w_c, mean (f - f̂)⟩
            activation = torch.cat([activation, torch.ones_like(activation[:, :1])], 1)
            maps = torch.cat([maps, error.sqrt()[..., None]], 2)
        if self.training or cells.grid is None:
            return Evidence(activation, None, state)
        support = maps / maps.amax(1, keepdim=True).clamp_min(1e-12)
        return Evidence(activation, support.mT.unflatten(2, cells.grid), state)

    def linear(self) -> tuple[Tensor, Tensor]:
        """Weights (C, m) of the atoms and biases (C,), in fp32."""
        weight, bias = at_least_fp32(self.head.weight), at_least_fp32(self.head.bias)
        if self.head_kind == "sparse":
            return weight, bias
        return weight @ self.code.atoms.T, weight @ self.code.bias + bias

    def readout(self, evidence: Evidence) -> Tensor:
        weight, bias = self.linear()
        scores = F.linear(evidence.activation[:, : weight.shape[1]], weight, bias)
        if self.head_kind != "explaining":
            return scores
        return scores + evidence.activation[:, -1:] * evidence.state["residual"]

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = self.linear()
        return self._terms(evidence, weight[target], lambda rest: rest.gather(1, target[:, None])), bias[target]

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        weight, bias = self.linear()
        found = self._terms(evidence, weight.mean(0), lambda rest: rest.mean(1, keepdim=True))
        return found, bias.mean().expand(found.shape[0])

    def _terms(self, evidence: Evidence, weight: Tensor, chosen: Callable[[Tensor], Tensor]) -> Tensor:
        found = evidence.activation[:, : weight.shape[-1]] * weight
        if self.head_kind != "explaining":
            return found
        return torch.cat([found, evidence.activation[:, -1:] * chosen(evidence.state["residual"])], 1)

    def slopes(self, evidence: Evidence) -> Tensor | None:
        atoms = self.linear()[0].T[None]
        if self.head_kind != "explaining":
            return atoms
        rest = evidence.state["residual"][:, None]
        return torch.cat([atoms.expand(rest.shape[0], -1, -1), rest], 1)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        state, stage = evidence.state, self.stage
        learns = stage.trained if self.training and stage is not None else ()
        terms: dict[str, Tensor] = {}
        if "code" in learns or not learns:
            terms = {name: state[key].mean() for name, key in self.code.terms.items()}
            if self.code.options.common and (self.training or "pair" in batch):
                other = self._activation(partners(batch))
                terms["contrast"] = contrast(evidence.activation[:, : other.shape[1]], other, batch, self.code)
        if "head" in learns or not learns:
            if "head" in learns and "black_box" in state:
                scores = state["black_box"]  # the head learns on the features, whatever the code is
            terms["task"] = task_loss(scores, batch["target"], self.domain, batch.get("class_weights"))
        return terms

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        code = evidence.activation[:, : len(self.code.idle)]
        found = self.code_metrics.update(split, scores, code, evidence.state)
        return {**super().update_metrics(split, scores, evidence, batch), **found}

    def check_recipe(self) -> None:
        teacher = self.recipe.teacher
        taught = teacher is not None and teacher.start
        check_stages(self.stages, self.head_kind, taught, self.code.options.source is not None)

    def on_stage_start(self, stage: Stage) -> None:
        if "code" in stage.trained:
            self.examples.clear()
            self.names.clear()

    # Atoms

    @property
    def examples(self) -> TrainingExamples:
        """The top-activating training examples of each atom."""
        return self.images if isinstance(self.images, TrainingExamples) else self.images.examples

    def units(self) -> tuple[Unit, ...]:
        tensors = (self.examples.index, self.names.concept)
        return self._units.get(tensors, self._build_units)

    def _build_units(self) -> list[Unit]:
        common = common_atoms(self.code.options.common, self.code.options.atoms)
        return atom_units(self.names, self.images, self.domain, self.head_kind == "explaining", common)

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        return residual_statements(terms) if self.head_kind == "explaining" else ()

    # Actions

    @action
    def centre(self, projection_set: ProjectionSet) -> None:
        """Measures mean and scale of the features of the training set, and finds archetypes where atoms have them."""
        features = (cells_of(self.backbone, batch["input"]).rows() for batch in projection_set)
        measure(self.code, features, projection_set.total)

    @action
    def gallery(self, projection_set: ProjectionSet) -> None:
        """Finds the top-activating training examples of each atom; pictures show what its strongest cell sees."""
        if isinstance(self.images, Gallery):
            assert isinstance(self.domain, ImageDomain)
            field = self.backbone.receptive_field if isinstance(self.backbone, Backbone) else None
            self.images.fill(projection_set, self.domain, self._activation, self._maps, field)
        elif isinstance(self.images, TokenExamples):
            self.images.fill(projection_set, self._maps)
        else:
            self.images.find(projection_set, self._activation)

    @action
    def name_atoms(self, projection_set: ProjectionSet) -> None:
        """Names atoms by annotated concepts, see `AtomNames`."""
        activation, labels = collect(self._activation, projection_set, "concepts")
        self.names.fit(activation, labels, self.least_auc)

    def _activation(self, x: Tensor) -> Tensor:
        return self.evidence(x).activation[:, : len(self.code.idle)]

    def _maps(self, x: Tensor) -> Tensor:
        cells = cells_of(self.backbone, x)
        return cells.code(self.code).code.mT.unflatten(2, cells.grid or (1,))
