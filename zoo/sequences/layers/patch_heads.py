"""Linear heads on the states of patches, kept as sums: of classes, and of the future steps of each variable."""

import torch
from torch import Tensor, nn

from zoo.core.evidence import Evidence, Unit
from zoo.core.unit_logits import of_target
from zoo.domain import SeriesDomain
from zoo.networks.patch_transformer import PatchTransformer
from zoo.networks.target_units import in_target_units

EPS = 1e-5  # of the variance of a look-back


class ClassHead(nn.Module):
    """Scores of an input: the mean over its variables of a linear layer on all patches.

        score_k = b_k + Σ_c Σ_p ⟨W_kp, z_cp⟩ / V

    Args:
        domain: of V variables.
        trunk: gives states (B, V, P, D).
        individual: W is that of each variable, (C, V, P, D).
    """

    def __init__(self, domain: SeriesDomain, trunk: PatchTransformer, individual: bool) -> None:
        super().__init__()
        self.variables, self.patches = len(domain.variables), trunk.count
        self.groups = self.variables if individual else 1
        width = trunk.embed.out_features
        self.linear = in_target_units(nn.Linear(self.groups * trunk.count * width, len(domain.classes)), domain)

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The input (B, V, T) of the trunk, and nothing else that the sum needs (B, V, 0)."""
        return x, x[:, :, :0]

    def evidence(self, z: Tensor, rest: Tensor) -> dict[str, Tensor]:
        """The state of the evidence: logits (B, K, C) of the K = V P patches, and the bias.

        Args:
            z: states (B, V, P, D).
            rest: see `prepare`.
        """
        weight = self.linear.weight.view(-1, self.groups, self.patches, z.shape[-1])
        weight = weight.expand(-1, self.variables, -1, -1)
        logits = torch.einsum("bvpd,cvpd->bvpc", z, weight) / self.variables
        return {"unit_logits": logits.flatten(1, 2), "bias": self.linear.bias.expand(z.shape[0], -1)}

    def readout(self, evidence: Evidence) -> Tensor:
        """Scores (B, C)."""
        terms = torch.einsum("bk,bkc->bc", evidence.activation, evidence.state["unit_logits"])
        return terms + evidence.state["bias"]

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        """Contributions (B, K) and bias (B,)."""
        contributions = evidence.activation * of_target(evidence.state["unit_logits"], target)
        return contributions, evidence.state["bias"].gather(1, target[:, None])[:, 0]

    def slopes(self, evidence: Evidence) -> Tensor:
        """(B, K, C)."""
        return evidence.state["unit_logits"]

    def details(self, evidence: Evidence) -> dict[str, Tensor]:
        """Nothing besides the contributions."""
        return {}

    def units(self, domain: SeriesDomain, trunk: PatchTransformer) -> tuple[Unit, ...]:
        """A unit for each variable and patch; a "patch" if nothing else counts for it, else a "stretch"."""
        kind = "stretch" if trunk.reach else "patch"
        return tuple(
            Unit(f"{v}, steps {a} to {b}", kind, source={"variable": v, "steps": [a, b]})
            for v in domain.variables
            for a, b in trunk.spans()
        )


class ForecastHead(nn.Module):
    """Future values of each variable: what reversible instance normalisation undoes is part of the sum.

        x̂_c = (x_c - μ_c) / σ_c γ_c + β_c           μ_c, σ_c: mean and deviation of the look-back of variable c
        y_ch = m_c + s_c (μ_c + σ_c / γ_c (Σ_p ⟨W_hp, z_cp⟩ + b_h - β_c))

    m_c and s_c are mean and deviation of the training data, in which the look-back is given. The terms of y_ch are
    those of the patches of c, its "level", s_c (μ_c + σ_c / γ_c (b_h - β_c)), and the bias m_c.

    Kim et al.: "Reversible Instance Normalization for Accurate Time-Series Forecasting against Distribution Shift",
    ICLR 2022. As in the published code of PatchTST, μ and σ are constants for the gradient, and γ is divided by with a
    surplus of 1e-10.

    Args:
        domain: of V variables, with a horizon of H steps.
        trunk: gives states (B, V, P, D).
        individual: W and b are those of each variable.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, domain: SeriesDomain, trunk: PatchTransformer, individual: bool) -> None:
        super().__init__()
        self.variables, self.horizon, self.patches = len(domain.variables), domain.horizon, trunk.count
        self.groups = self.variables if individual else 1
        self.linear = nn.Linear(trunk.count * trunk.embed.out_features, self.groups * domain.horizon)
        self.gamma, self.beta = nn.Parameter(torch.ones(self.variables)), nn.Parameter(torch.zeros(self.variables))
        self.register_buffer("mean", torch.tensor(domain.mean), persistent=False)
        self.register_buffer("scale", torch.tensor(domain.std), persistent=False)

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The normalised input (B, V, T) of the trunk, and μ and σ (B, V, 2)."""
        mean = x.mean(2, keepdim=True).detach()
        deviation = (x.var(2, keepdim=True, correction=0) + EPS).sqrt().detach()
        normed = (x - mean) / deviation * self.gamma[:, None] + self.beta[:, None]
        return normed, torch.cat([mean, deviation], 2)

    def evidence(self, z: Tensor, rest: Tensor) -> dict[str, Tensor]:
        """The state of the evidence: terms (B, V, P + 1, H), the level last, and the bias (B, V H).

        Args:
            z: states (B, V, P, D).
            rest: see `prepare`.
        """
        weight = self.linear.weight.view(self.groups, self.horizon, self.patches, -1).expand(self.variables, -1, -1, -1)
        mean, deviation = rest[..., :1], rest[..., 1:]
        factor = deviation / (self.gamma[:, None] + EPS**2)
        terms = torch.einsum("bvpd,vhpd->bvph", z, weight) * factor[..., None]
        level = mean + factor * (self.linear.bias.view(self.groups, self.horizon) - self.beta[:, None])
        terms = torch.cat([terms, level[:, :, None]], 2) * self.scale[:, None, None]
        return {"terms": terms, "bias": self.mean.repeat_interleave(self.horizon).expand(z.shape[0], -1)}

    def readout(self, evidence: Evidence) -> Tensor:
        """Values (B, V H)."""
        terms = evidence.state["terms"]
        return (self._activation(evidence) * terms).sum(2).flatten(1) + evidence.state["bias"]

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        """Contributions (B, K), 0 for other variables, and bias (B,)."""
        terms = self._activation(evidence) * evidence.state["terms"]  # (B, V, P + 1, H)
        step = (target % self.horizon)[:, None, None, None].expand(*terms.shape[:3], 1)
        variable = torch.arange(self.variables, device=target.device) == (target // self.horizon)[:, None]
        contributions = terms.gather(3, step)[..., 0] * variable[..., None]
        return contributions.flatten(1), evidence.state["bias"].gather(1, target[:, None])[:, 0]

    def slopes(self, evidence: Evidence) -> Tensor:
        """(B, K, V H), 0 where a unit is of another variable than the value."""
        terms = evidence.state["terms"]
        apart = torch.eye(self.variables, device=terms.device)[:, None, :, None]  # (V, 1, V, 1)
        return (terms[:, :, :, None] * apart).flatten(3).flatten(1, 2)

    def details(self, evidence: Evidence) -> dict[str, Tensor]:
        """Contributions (B, K, H) to every future step of each unit's own variable."""
        return {"horizon": (self._activation(evidence) * evidence.state["terms"]).flatten(1, 2)}

    def _activation(self, evidence: Evidence) -> Tensor:
        return evidence.activation.view(-1, self.variables, self.patches + 1, 1)

    def units(self, domain: SeriesDomain, trunk: PatchTransformer) -> tuple[Unit, ...]:
        """For each variable its patches, named by how long ago they were, and its level."""
        units = []
        for v in domain.variables:
            for a, b in trunk.spans():
                ago = f"{v}, {domain.length - a} to {domain.length - b} steps ago"
                units.append(Unit(ago, "stretch", source={"variable": v, "steps": [a, b]}))
            units.append(Unit(f"{v}, level", "level", source={"variable": v}))
        return tuple(units)
