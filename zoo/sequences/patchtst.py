"""PatchTST with heads that are sums over patches, for classes and for forecasts.

Nie, Nguyen, Sinthong, Kalagnanam: "A Time Series is Worth 64 Words: Long-term Forecasting with Transformers", ICLR
2023, arXiv 2211.14730.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, SeriesDomain
from zoo.networks.patch_transformer import PatchTransformer
from zoo.sequences.layers.patch_heads import ClassHead, ForecastHead
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space, task_loss

RECIPE = Recipe(
    stages=(Stage("train", epochs=20, train=("trunk", "head"), cosine=True),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)


@register(
    "patchtst",
    modality="series",
    paper="Nie et al., ICLR 2023; Kim et al., ICLR 2022 (RevIN)",
    small=Small(
        {"patch": 4, "stride": 3, "width": 4, "layers": 2, "heads": 2, "hidden": 8},
        scale={"head.linear.weight": 5.0},
        variants={"window": Small({"mixing": "window", "individual": True}), "none": Small({"mixing": "none"})},
    ),
)
class PatchTST(SelfInterpretable):
    """A transformer on patches of each variable, whose classes or forecasts are sums over the patches.

        z_c = transformer(patches of variable c)                     (B, P, D)   the same weights for all variables
        class    score_k = b_k + Σ_c Σ_p ⟨W_kp, z_cp⟩ / V             units: V P patches
        forecast y_ch = m_c + level_ch + Σ_p s_c σ_c / γ_c ⟨W_hp, z_cp⟩   units: for each variable P patches and a level

    Which head is built follows from the data: a domain with a horizon is a forecast of every variable (`Forecast`),
    see `zoo.sequences.layers.patch_heads.ForecastHead` for the level. Variables never mix in the trunk, so the
    contributions to a forecast of c depend on variable c alone, exactly. How far the contribution of a patch depends on
    other patches is the choice of `mixing`:

        none      on no other patch. Of a forecast, besides, on mean and deviation of the look-back
        window    on the patches at most `window` times `layers` away
        full      on all patches of the variable, as published: it then says where the model gathered, not what made it

    Differs from the published code: forecasts are summed from terms, to the same numbers with the same weights; heads
    of classes are those of this package.

    Args:
        domain: what inputs and outputs mean (`data.domain`): series.
        patch: steps of a patch.
        stride: steps between two patches.
        width: D.
        layers: of the transformer.
        heads: of attention.
        hidden: width of the MLPs.
        dropout: share that is dropped.
        mixing: see above.
        window: of mixing "window".
        individual: each variable has its own weights W; always useful for classes if variables mean different things.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: trunk, head.

    Raises:
        ValueError: a number out of range, an unknown choice, or a domain that is not one of series.
    """

    default_recipe = RECIPE
    tasks = ("classification", "multilabel", "regression")
    places: Tensor  # (K, T, V) in {0, 1}, the steps of each unit

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        patch: int = 16,
        stride: int = 8,
        width: int = 16,
        layers: int = 3,
        heads: int = 4,
        hidden: int = 128,
        dropout: float = 0.3,
        mixing: Literal["none", "window", "full"] = "full",
        window: int = 1,
        individual: bool = False,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        if not isinstance(self.domain, SeriesDomain):
            raise ValueError(f"PatchTST reads series; got a domain of {self.domain.noun}.")
        series: SeriesDomain = self.domain
        self.trunk = PatchTransformer(
            series.length, patch, stride, width, layers, heads, hidden, dropout, mixing, window
        )
        self.head = (ForecastHead if series.horizon else ClassHead)(series, self.trunk, individual)
        self._units = self.head.units(series, self.trunk)
        self.space = score_space(series)
        places = torch.zeros(len(self._units), *series.shape)
        for place, unit in zip(places, self._units, strict=True):
            first, last = unit.source.get("steps", (0, series.length - 1))  # a level is that of the complete look-back
            place[first : last + 1, series.variables.index(unit.source["variable"])] = 1
        self.register_buffer("places", places, persistent=False)

    def evidence(self, x: Tensor) -> Evidence:
        series, rest = self.head.prepare(x.mT)
        z = self.trunk(series.flatten(0, 1)).unflatten(0, (-1, x.shape[2]))
        state = self.head.evidence(z, rest)
        here = torch.ones_like(self.places[:, 0, 0], dtype=z.dtype).expand(x.shape[0], -1)
        return Evidence(here, None if self.training else self.places.expand(x.shape[0], -1, -1, -1), state)

    def readout(self, evidence: Evidence) -> Tensor:
        return self.head.readout(evidence)

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.head.attribute(evidence, target)

    def slopes(self, evidence: Evidence) -> Tensor:
        return self.head.slopes(evidence)

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """Of a forecast, "horizon" (B, K, H): contributions to every future step of the unit's own variable."""
        return self.head.details(evidence)

    def locality(self) -> str:
        """What the contribution of a patch depends on, in words."""
        reach, last = self.trunk.reach, self.trunk.count - 1
        if reach == 0:
            own = "it alone"
        elif reach >= last:
            own = "all patches of its variable"
        else:
            own = f"the patches of its variable at most {reach} away"
        if isinstance(self.head, ForecastHead):
            more = "" if reach >= last else ", and on mean and deviation of its variable's look-back"
            return f"{own}{more}; never on another variable"
        return own

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        return (f"The contribution of each patch depends on {self.locality()}.",) * len(terms["activation"])

    def units(self) -> tuple[Unit, ...]:
        return self._units

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        if not isinstance(self.head, ForecastHead):
            return {"task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights"))}
        scale = self.head.scale.repeat_interleave(self.head.horizon)  # errors in deviations of the training data
        return {"task": ((scores - batch["target"].view_as(scores)) / scale).square().mean()}
