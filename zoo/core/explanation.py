"""Explanations: tensors, names and arithmetic, nothing that needs a model.

An `Explanation` keeps the terms of a readout for one target per row and names them. Its promise is
`bias + contributions.sum(1) == score`, and `check()` holds it to that.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zoo.core.evidence import Unit, find_unit
from zoo.domain import Domain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPTIONAL = ("contributions", "bias", "support", "inputs", "effects", "slopes")  # tensors


class Term(NamedTuple):
    """One unit's part in one explanation; `contribution` is None where the score is no sum of its units."""

    unit: Unit
    index: int
    activation: float
    contribution: float | None


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why each of B inputs got the score of its target. `explanation[i]` is the explanation of row i.

    Attributes:
        scores: (B, C) fp32, exactly what the model returned.
        target: (B,) the class (or regression target) that is explained.
        contributions: (B, K) or None; `bias + contributions.sum(1)` is the target's score.
        bias: (B,) or None, the part of the score that no unit accounts for.
        activation: (B, K).
        support: (B, K, *S) in [0, 1] or None.
        units: the K units, in the order of the columns.
        domain: names of the classes, and the way back from input tensors to pictures.
        inputs: the batch that was explained.
        space: what a score is: "logit", "probability", "value", or "margin" (see `versus`).
        edges: where the explanation is a graph: (source (E,), destination (E,), weight (B, E)); nodes are
            columns of `activation`, and K + c stands for the score of class c.
        details: what else is known of each unit, (B, K), or (B, K, n) for n numbers each, by name; concepts have their
            "probability", and the score that the target would have were they "absent" or "present".
        effects: (B, K, C) the contributions to every class, or None; see `SelfInterpretable.explain`. What a class's
            effects leave of its score is its bias.
        slopes: (B, K, C) how much each score changes per unit of each activation, where that is constant, or None.
        statements: what the model says in words, one for each of B rows, such as a rule; empty if it says nothing.
    """

    scores: Tensor
    target: Tensor
    contributions: Tensor | None
    bias: Tensor | None
    activation: Tensor
    support: Tensor | None
    units: tuple[Unit, ...]
    domain: Domain
    inputs: Tensor | None = None
    space: str = "logit"
    edges: tuple[Tensor, Tensor, Tensor] | None = None
    details: Mapping[str, Tensor] = field(default_factory=dict)
    effects: Tensor | None = None
    slopes: Tensor | None = None
    statements: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, row: int | slice) -> "Explanation":
        if isinstance(row, int):
            if not -len(self) <= row < len(self):
                raise IndexError(f"row {row} is out of range; the explanation has {len(self)} rows.")
            row = slice(row % len(self), row % len(self) + 1)
        names = ("scores", "target", "contributions", "bias", "activation", "support", "inputs", "effects", "slopes")
        rows = {n: None if getattr(self, n) is None else getattr(self, n)[row] for n in names}
        edges = None if self.edges is None else (self.edges[0], self.edges[1], self.edges[2][row])
        details = {name: value[row] for name, value in self.details.items()}
        return replace(self, **rows, edges=edges, details=details, statements=self.statements[row])

    def __iter__(self) -> Iterator["Explanation"]:
        return (self[i] for i in range(len(self)))

    @property
    def score(self) -> Tensor:
        """(B,) the score of the target."""
        return self.scores.gather(1, self.target[:, None])[:, 0]

    @property
    def probability(self) -> Tensor | None:
        """(B,) the target's probability, where scores are logits or probabilities of classes."""
        if self.domain.task != "classification" or self.space not in ("logit", "probability"):
            return None
        shares = self.scores.softmax(1) if self.space == "logit" else self.scores
        return shares.gather(1, self.target[:, None])[:, 0]

    @property
    def target_names(self) -> list[str]:
        """The name of each row's target."""
        return [self.domain.classes[t] for t in self.target.tolist()]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {unit.name: k for k, unit in enumerate(self.units)}

    def unit_index(self, unit: str | int) -> int:
        """Column of a unit given by name or number.

        Raises:
            ValueError: there is no such unit; the message names the nearest one.
        """
        return find_unit(unit, self._index)

    @property
    def importance(self) -> Tensor:
        """(B, K) by which units are ranked: |contribution|; of a score that is no sum, how far it moves between the
        unit's absence and presence, where that is known, else the activation.
        """
        if self.contributions is not None:
            return self.contributions.abs()
        if {"absent", "present"} <= self.details.keys():
            return (self.details["present"] - self.details["absent"]).abs()
        return self.activation

    def top(self, n: int = 10) -> list[list[Term]]:
        """For each row its n units of largest `importance`, largest first."""
        weight = self.importance
        order = weight.sort(dim=1, descending=True, stable=True).indices[:, :n].cpu()
        activation = self.activation.cpu().gather(1, order).tolist()
        parts = None if self.contributions is None else self.contributions.cpu().gather(1, order).tolist()
        return [
            [
                Term(self.units[k], k, activation[i][j], None if parts is None else parts[i][j])
                for j, k in enumerate(row)
            ]
            for i, row in enumerate(order.tolist())
        ]

    def without(self, units: Iterable[str | int]) -> Tensor:
        """(B,) the score that the target would have without these units. Exact, as the score is a sum.

        Raises:
            ValueError: an unknown unit, or a model whose score is no sum of its units.
        """
        columns = sorted({self.unit_index(unit) for unit in units})
        return self.score - self._additive("without()")[:, columns].sum(1)

    def versus(self, other: "Explanation") -> "Explanation":
        """Why this target and not the other's: the exact decomposition of the difference of two scores.

        Args:
            other: the explanation of the same inputs for another target, `model.explain(x, target=...)`.

        Raises:
            ValueError: `other` explains other inputs or another model, or either is no sum of its units.
        """
        mine, theirs = self._additive("versus()"), other._additive("versus()")
        if self.scores.shape != other.scores.shape or not torch.equal(self.scores, other.scores):
            raise ValueError(
                "versus() compares two explanations of the same batch by the same model; these have different scores."
            )
        names = tuple(
            f"{a} rather than {b} ({i})"
            for i, (a, b) in enumerate(zip(self.target_names, other.target_names, strict=True))
        )
        return replace(
            self,
            scores=torch.diag(self.score - other.score),
            target=torch.arange(len(self), device=self.target.device),
            contributions=mine - theirs,
            bias=self.bias - other.bias,
            domain=replace(self.domain, classes=names),
            space="margin",
            edges=None,
            details={},
            effects=None,
            slopes=None,
            statements=(),
        )

    def attribution(self) -> Tensor:
        """(B, *S) the contributions laid out over the input: each unit's is spread in proportion to its support.

        Sums to the contributions of all units that have a support somewhere; units without one are not on the map.

        Raises:
            ValueError: the units have no supports, or the score is no sum of its units.
        """
        if self.support is None:
            raise ValueError("these units have no place in the input (support is None), so there is no map of them.")
        flat = self.support.flatten(2)
        share = flat / flat.sum(2, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
        return torch.einsum("bk,bks->bs", self._additive("attribution()"), share).unflatten(1, self.support.shape[2:])

    def gap(self) -> Tensor:
        """(B,) |score - bias - sum of contributions|, added up in float64."""
        parts = self._additive("gap()").double()
        return (self.score.double() - self.bias.double() - parts.sum(1)).abs()

    def check(self) -> "Explanation":
        """Returns the explanation if it is complete: gap <= 1e-6 + 1e-5 (|bias| + sum of |contributions|) in every row.

        Raises:
            ArithmeticError: it is not; names the worst row.
        """
        parts, gap = self._additive("check()").double(), self.gap()
        allowed = 1e-6 + 1e-5 * (self.bias.double().abs() + parts.abs().sum(1))
        if bool((~(gap <= allowed)).any()):
            row = int((gap - allowed).nan_to_num(torch.inf).argmax())
            raise ArithmeticError(
                f"the contributions of row {row} miss its score by {gap[row]:.3g} (allowed: {allowed[row]:.3g})."
            )
        return self

    def _additive(self, caller: str) -> Tensor:
        if self.contributions is None or self.bias is None:
            raise ValueError(
                f"{caller} needs contributions, and this model's score is no sum of its units; use top(), "
                "which ranks by activation."
            )
        return self.contributions

    def to_dict(self, top: int | None = None) -> list[dict[str, Any]]:
        """One JSON-ready dict a row: the answer, the sum and the evidence (all of it, or the `top` largest terms)."""
        rows, probability = self.top(len(self.units) if top is None else top), self.probability
        table = []
        for i, (name, score, terms) in enumerate(zip(self.target_names, self.score.tolist(), rows, strict=True)):
            row: dict[str, Any] = {"target": name, "score": score, "space": self.space}
            if probability is not None:
                row["probability"] = probability[i].item()
            row["scores"] = dict(zip(self.domain.classes, self.scores[i].tolist(), strict=True))
            if self.statements:
                row["statement"] = self.statements[i]
            if self.bias is not None:
                row["bias"] = self.bias[i].item()
            details = {name: value[i].tolist() for name, value in self.details.items()}
            row["evidence"] = [
                _term_to_dict(term, self.domain) | {name: value[term.index] for name, value in details.items()}
                for term in terms
            ]
            table.append(row)
        return table

    def save(self, path: str | Path) -> None:
        """Writes everything to one safetensors file, which `load` reads back without the model."""
        tensors = {f.name: v.contiguous() for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        for name, edge in zip(("source", "destination", "weight"), self.edges or (), strict=False):
            tensors[f"edges.{name}"] = edge.contiguous()
        tensors |= {f"details.{name}": value.contiguous() for name, value in self.details.items()}
        for k, unit in enumerate(self.units):
            if unit.picture is not None:
                tensors[f"picture.{k}"] = unit.picture.contiguous()
        units = [{"name": u.name, "kind": u.kind, "target": u.target, "source": dict(u.source)} for u in self.units]
        about = {"units": json.dumps(units), "domain": json.dumps(self.domain.to_dict()), "space": self.space}
        about["statements"] = json.dumps(self.statements)
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, str(path), about)  # none may share memory

    @staticmethod
    def load(path: str | Path) -> "Explanation":
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file holds no explanation.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no explanation at {path}.")
        try:
            with safe_open(str(path), framework="pt") as opened:
                about = opened.metadata() or {}
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no dict)
        except SafetensorError as error:
            raise ValueError(
                f"{path} is no intact safetensors file ({error}); expected one written by Explanation.save()."
            ) from error
        if not {"units", "domain", "space"} <= set(about):
            raise ValueError(
                f"{path} is a safetensors file but holds no explanation; expected one written by Explanation.save()."
            )
        units = tuple(
            Unit(**u, picture=tensors.pop(f"picture.{k}", None)) for k, u in enumerate(json.loads(about["units"]))
        )
        edges = (
            tuple(tensors.pop(f"edges.{n}") for n in ("source", "destination", "weight"))
            if "edges.source" in tensors
            else None
        )
        optional = {name: tensors.get(name) for name in OPTIONAL}
        domain = Domain.from_dict(json.loads(about["domain"]))
        required = {name: tensors[name] for name in ("scores", "target", "activation")}
        details = {name.removeprefix("details."): t for name, t in tensors.items() if name.startswith("details.")}
        return Explanation(
            **required,
            **optional,
            units=units,
            domain=domain,
            space=about["space"],
            edges=edges,
            details=details,
            statements=tuple(json.loads(about.get("statements", "[]"))),
        )

    def figure(self, top: int = 8) -> "Figure":
        """A figure for print of at most ten rows, by matplotlib; `.savefig("why.pdf")` saves it.

        Args:
            top: how many units to show for each row.

        Raises:
            ImportError: matplotlib is not installed (the extra `plot`).
            ValueError: more than ten rows.
        """
        from zoo.views.figure import figure  # views import explanations, so this one import must wait

        return figure(self, top)

    def __str__(self) -> str:
        from zoo.views.text import table  # views import explanations, so this one import must wait

        return table(self)

    def _repr_html_(self) -> str:
        from zoo.views.html import fragment

        return fragment(self)


def _term_to_dict(term: Term, domain: Domain) -> dict[str, Any]:
    row: dict[str, Any] = {"unit": term.unit.name, "kind": term.unit.kind, "activation": term.activation}
    if term.contribution is not None:
        row["contribution"] = term.contribution
    if term.unit.target is not None:
        row["class"] = domain.classes[term.unit.target]
    return {**row, "source": dict(term.unit.source)} if term.unit.source else row
