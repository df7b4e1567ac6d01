"""The contract: scores are a function of the evidence and of nothing else; an explanation is its terms."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.contract import check_alternatives, check_contract, check_removal
from zoo.core.evidence import Evidence, Unit, find_unit
from zoo.core.explanation import Explanation
from zoo.core.reference import choose
from zoo.core.targets import targets_of
from zoo.core.terms import alternatives_of, terms_of, without_autocast
from zoo.domain.inputs import read_input
from zoo.training.batch import Batch, as_batch
from zoo.training.modes import asking_for_scores, evaluating, only_scores
from zoo.training.staged_module import StagedModule
from zoo.utils.errors import ContractError
from zoo.utils.functional import at_least_fp32


class SelfInterpretable(StagedModule):
    """A network that explains itself: `forward` is `readout(evidence(x))`.

    A model writes `evidence`, `units` and `losses`; where its readout is more than the linear layer `self.head`
    on the activations, also `readout` and `attribute`.

    Attributes:
        additive: whether the score is a sum over the units. If not, explanations carry no contributions.
        space: what a score is: "logit", "probability" or "value".
        reference: what explanations measure a class against unless they are asked for another: "zero", "mean" or
            "runner-up", see `zoo.core.reference`.
        adjustable: what may be set anew for one explanation, such as the number of groups.
        former_names: earlier name of a parameter, buffer or module -> its present name, for checkpoints saved before
            it was renamed.
    """

    former_names: ClassVar[Mapping[str, str]] = {}
    adjustable: ClassVar[tuple[str, ...]] = ()
    additive: bool = True
    space: str = "logit"
    reference: str = "zero"
    head: Any  # a linear layer, unless the model overrides readout() and attribute()
    _checked: bool = False

    def evidence(self, x: Tensor) -> Evidence:
        """What the model sees in a batch of inputs. The only place where the network runs."""
        raise NotImplementedError(f"{type(self).__name__} must define evidence(x), which returns an Evidence.")

    def readout(self, evidence: Evidence) -> Tensor:
        """Scores (B, C), from the evidence alone; by default the linear layer `self.head` on the activations."""
        return F.linear(evidence.activation, *self._linear("readout"))

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        """Contributions (B, K) and bias (B,) that add up to the score of `target` (B,), exactly."""
        weight, bias = self._linear("attribute")
        contributions = evidence.activation * weight[target]
        return contributions, contributions.new_zeros(target.shape) if bias is None else bias[target]

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """The mean of `attribute` over all classes: contributions (B, K) and bias (B,).

        A model that overrides `attribute` can override this too, with something faster than one call for each class.
        """
        rows, classes = evidence.activation.shape[0], len(self.domain.classes)
        if type(self).attribute is SelfInterpretable.attribute:
            weight, bias = self._linear("attribute_mean")
            mean = weight.new_zeros(()) if bias is None else bias.mean()
            return evidence.activation * weight.mean(0), mean.expand(rows)
        targets = torch.arange(classes, device=evidence.activation.device)[:, None].expand(-1, rows)
        contributions, bias = self.attribute(evidence, targets[0])
        for target in targets[1:]:
            more = self.attribute(evidence, target)
            contributions, bias = contributions + more[0], bias + more[1]
        return contributions / classes, bias / classes

    def _linear(self, method: str) -> tuple[Tensor, Tensor | None]:
        """Weight (C, K) and bias (C,) of the default readout, in fp32."""
        head = getattr(self, "head", None)
        weight, bias = getattr(head, "weight", None), getattr(head, "bias", None)
        if not isinstance(weight, Tensor):
            raise ContractError(
                f"{type(self).__name__} must define {method}(), or have a linear layer `self.head` from its units to "
                "the classes, which the default uses."
            )
        return at_least_fp32(weight), at_least_fp32(bias) if isinstance(bias, Tensor) else None

    def units(self) -> tuple[Unit, ...]:
        """The K entries of the vocabulary, in the order of the activations."""
        raise NotImplementedError(f"{type(self).__name__} must define units(), one Unit for each activation.")

    def edges(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """The graph of an explanation as `Explanation.edges`, for the models that are one."""
        return None

    def require_ready(self) -> None:
        """Refuses to explain as long as the explanation would not be true.

        Raises:
            RuntimeError: what is missing, and the remedy.
        """

    def slopes(self, evidence: Evidence) -> Tensor | None:
        """(B or 1, K, C): how much each score changes per unit of each activation; None where that is not constant.

        With it the scores of any intervention are known without another readout.
        """
        return self._linear("slopes")[0].T[None] if self.additive else None

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """What else an explanation tells of each unit, (B, K), or (B, K, n) for n numbers each, by name."""
        return {}

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        """What an explanation with these `terms` says in words, one for each row; empty if nothing."""
        return ()

    def intervene(self, evidence: Evidence, mask: Tensor, values: Tensor) -> Evidence:
        """The evidence with activations replaced by `values` (B, K) where `mask` (B, K) is True."""
        return replace(evidence, activation=torch.where(mask, values, evidence.activation))

    def edit(self, evidence: Evidence, values: Mapping[str | int, float | Tensor]) -> Evidence:
        """The evidence with some units set to a value, one for all rows or one for each: an intervention.

        Raises:
            ValueError: an unknown unit.
        """
        activation = evidence.activation.clone()
        mask = torch.zeros_like(activation, dtype=torch.bool)
        for unit, value in values.items():
            column = self.unit_index(unit)
            activation[:, column], mask[:, column] = value, True
        return self.intervene(evidence, mask, activation)

    def ablate(self, evidence: Evidence, units: Iterable[str | int]) -> Evidence:
        """The evidence without some units: their contributions become 0, all others stay."""
        return self.edit(evidence, dict.fromkeys(units, 0.0))

    def unit_index(self, unit: str | int) -> int:
        """Column of a unit given by name or number."""
        return find_unit(unit, {u.name: k for k, u in enumerate(self.units())})

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, C) in fp32; the readout runs outside autocast.

        Raises:
            ValueError, TypeError: an input that the model's domain refuses.
        """
        if torch.compiler.is_compiling():  # the check looks at values, which a traced graph cannot
            return self.step(self._cast(x))[0]
        self.domain.check(x, type(self).__name__)
        with asking_for_scores():
            return self.step(self._cast(x))[0]

    def step(self, x: Tensor) -> tuple[Tensor, Evidence]:
        evidence = self.evidence(x).float()
        with without_autocast(x):
            return self.readout(evidence), evidence

    def heat(self, x: Tensor, target: Tensor) -> Tensor | None:
        """(B, h, w) where the evidence on `target` (B,) lies, with gradients; None if units have no place in images.

        The sum of the supports, weighted by the absolute contributions.
        """
        _, evidence = self.step(x)
        if evidence.support is None:
            return None
        with without_autocast(x):
            size = self.attribute(evidence, target)[0].abs()
            return torch.einsum("bk,bkhw->bhw", size, evidence.support)

    @property
    def places_wanted(self) -> bool:
        """Whether `evidence` should compute supports: not while training, nor where `forward` asks for scores alone."""
        return not self.training and not only_scores()

    @contextmanager
    def adjusted(self, **options: Any) -> Iterator[None]:
        """The model with some of what is `adjustable` set anew for the moment."""
        yield

    @torch.no_grad()
    def explain(
        self,
        x: Tensor,
        target: int | str | Sequence[int | str] | Tensor | None = None,
        every_class: bool = False,
        reference: str | None = None,
        **options: Any,
    ) -> Explanation:
        """The built-in explanation of a batch; leaves the model, its modes and the input as they were.

        Args:
            x: inputs as `forward` takes them.
            target: class by name or number, or one for each row; by default the class of highest score
                (of regression targets, the first).
            every_class: also keep the contributions to every class, (B, K, C) numbers, from which the scores of all
                classes follow without units, or with other activations. Of additive models.
            reference: what the contributions to the target's score are relative to: "zero", the "mean" score of all
                classes, or the "runner-up"; by default the model's own. `Explanation.relative_to` changes it later.
            options: what is `adjustable`, for this explanation; the scores are those of the model so adjusted.

        Raises:
            ValueError, TypeError: an input that the domain refuses, a target or reference that does not exist, or an
                option that this model does not have.
            RuntimeError: the model is not ready, see `require_ready`.
        """
        self.require_ready()
        self.domain.check(x, type(self).__name__)
        x = self._cast(x)
        self.check_options(**options)
        comparable = self.additive and self.domain.task == "classification" and len(self.domain.classes) > 1
        reference = choose(reference, self.reference, comparable, type(self).__name__)
        with evaluating(self), self.adjusted(**options):
            scores, evidence = self.step(x)
            chosen = targets_of(target, self.domain, x)
            terms = terms_of(self, scores, evidence, chosen, every_class and self.additive)
            units, known = self.units(), self._checked
            self._check(evidence, terms, units)
            if comparable:
                terms["alternatives"] = alternatives_of(self, evidence, terms)
                if not known:
                    check_alternatives(type(self).__name__, terms)
            statements = self.statements(terms)
        told = Explanation(**terms, units=units, statements=statements, domain=self.domain, inputs=x, space=self.space)
        return told.relative_to(reference)

    def check_options(self, **options: Any) -> None:
        """Refuses options that `explain` does not take.

        Raises:
            ValueError: this model does not have such an option, or not with this value.
        """
        for name in options:
            if name not in self.adjustable:
                has = f"it has {', '.join(self.adjustable)}" if self.adjustable else "it has none"
                raise ValueError(f"{type(self).__name__} has no option '{name}' for an explanation; {has}.")
        with self.adjusted(**options):
            pass

    def explain_file(self, path: str | Path, target: int | str | None = None, **options: Any) -> Explanation:
        """The explanation of one raw file, read as the model's domain reads it; see `explain`.

        Raises:
            FileNotFoundError, ValueError: there is no such file, or it cannot be read.
        """
        found = read_input(Path(path), self.domain)
        told = self.explain(found.x[None].to(self.device), target, **options)
        return replace(told, texts=(found.text,), warnings=(found.warnings,))

    def terms(self, x: Tensor, target: Tensor | None = None, every_class: bool = False) -> dict[str, Any]:
        """The tensors of an explanation, and nothing but tensors: what `explain` names and `torch.export` exports."""
        return terms_of(self, *self.step(x), target, every_class)

    def _check(self, evidence: Evidence, terms: Mapping[str, Any], units: Sequence[Unit]) -> None:
        """Refuses scores that are not finite; the first explanation is also compared with the contract."""
        name = type(self).__name__
        if not bool(terms["scores"].isfinite().all()):
            raise FloatingPointError(
                f"{name} gives scores that are not finite, so there is nothing to explain. Look for extreme values in "
                "the input, or for weights that are not finite (a training that diverged)."
            )
        if not self._checked:
            check_contract(name, terms, units, self.additive)
            if self.additive:  # the strongest unit of the first row is removed
                strongest = int(terms["contributions"][0].abs().argmax())
                with without_autocast(terms["scores"]):
                    left = self.readout(self.ablate(evidence, [strongest]))
                check_removal(name, terms, left, units, strongest)
            self._checked = True

    def predict_step(self, batch: Any, batch_idx: int) -> Explanation:
        return self.explain(batch if isinstance(batch, Tensor) else as_batch(batch)["input"])

    def _cast(self, x: Tensor) -> Tensor:
        """Numbers of another precision, such as NumPy's float64, in that of the model."""
        return x.to(self.dtype) if x.is_floating_point() and not torch.is_autocast_enabled(x.device.type) else x


class ExplainingForward(nn.Module):
    """`explain` as a plain module from a batch to a dict of tensors, for `torch.export` and deployment."""

    def __init__(self, model: SelfInterpretable) -> None:
        super().__init__()
        model.require_ready()
        self.model = model.eval()

    def forward(self, x: Tensor) -> dict[str, Any]:
        return self.model.terms(x)


__all__ = ["Batch", "ExplainingForward", "SelfInterpretable"]
