"""What the contract says about mistakes in a model's own code: the class, the method, what was got and expected."""

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.small_models import IMAGES
from zoo.core import registry
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.utils.errors import ContractError

RECIPE = Recipe((Stage("train", epochs=1, train=("head",)),), 0.1, 0.0, "adam", {"task": 1.0})


class Good(SelfInterpretable):
    """Four units, each the mean of a quarter of the first channel's rows."""

    default_recipe = RECIPE
    names: ClassVar[tuple[str, ...]] = ("top", "upper", "lower", "bottom")

    def __init__(self, domain: Any, recipe: Recipe | None = None) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        self.head = nn.Linear(4, 3)

    def evidence(self, x: Tensor) -> Evidence:
        means = x[:, 0].unflatten(1, (4, 3)).mean((2, 3))
        return Evidence(means, torch.sigmoid(means)[:, :, None, None])

    def units(self) -> tuple[Unit, ...]:
        return tuple(Unit(name, "feature") for name in self.names)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Any) -> dict[str, Tensor]:
        return {"task": scores.mean()}


class NineUnits(Good):
    names = tuple("abcdefghi")


class SameNames(Good):
    names = ("a", "b", "a", "c")


class NoName(Good):
    names = ("a", "b", " ", "c")


class WideSupport(Good):
    def evidence(self, x: Tensor) -> Evidence:
        found = super().evidence(x)
        return Evidence(found.activation, found.activation[:, :, None, None] * 0 + 2)


class OtherSupport(Good):
    def evidence(self, x: Tensor) -> Evidence:
        return Evidence(super().evidence(x).activation, torch.ones(len(x), 3, 2, 2))


class WrongSplit(Good):
    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        contributions, bias = super().attribute(evidence, target)
        return contributions, bias + 0.5


class WrongShape(Good):
    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        contributions, bias = super().attribute(evidence, target)
        return contributions[:, :3], bias


class WrongRemoval(Good):
    """The activation 0 has a contribution, and `ablate` sets it."""

    def readout(self, evidence: Evidence) -> Tensor:
        return self.head(evidence.activation + 1)

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        return super().attribute(Evidence(evidence.activation + 1), target)


class NoEvidence(Good):
    evidence = SelfInterpretable.evidence


class NoUnits(Good):
    units = SelfInterpretable.units


class NoLosses(Good):
    losses = SelfInterpretable.losses


class UnknownTerm(Good):
    def losses(self, scores: Tensor, evidence: Evidence, batch: Any) -> dict[str, Tensor]:
        return {"tusk": scores.mean()}


class VectorTerm(Good):
    def losses(self, scores: Tensor, evidence: Evidence, batch: Any) -> dict[str, Tensor]:
        return {"task": scores.mean(1)}


class NoTerm(Good):
    def losses(self, scores: Tensor, evidence: Evidence, batch: Any) -> dict[str, Tensor]:
        return {}


@pytest.fixture
def x() -> Tensor:
    return IMAGES.example(2, torch.Generator().manual_seed(0))


def test_a_right_model_passes(x: Tensor) -> None:
    Good(IMAGES).explain(x).check()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (NineUnits, r"NineUnits.units\(\) returned 9 units, but NineUnits.evidence\(\) has 4 activations"),
        (SameNames, r"SameNames.units\(\) must give unique names; 'a' names several units"),
        (NoName, r"NoName.units\(\) must name every unit; the name of unit 2 is empty"),
        (WideSupport, r"WideSupport.evidence\(\) must return supports in \[0, 1\]; got values from 2 to 2"),
        (OtherSupport, r"OtherSupport.evidence\(\) .*begins with \(B, K\) = \(2, 4\); got shape \(2, 3, 2, 2\)"),
        (WrongSplit, r"WrongSplit.attribute\(\) must split the score that WrongSplit.readout\(\) gives.*additive = Fa"),
        (
            WrongRemoval,
            r"WrongRemoval.ablate\(\) must make the contribution of a unit 0: removing '\w+' moves the score",
        ),
        (WrongShape, r"WrongShape.attribute\(\) must return contributions of shape \(2, 4\); got \(2, 3\)"),
    ],
)
def test_a_wrong_model_is_named_with_its_method(model: type[Good], message: str, x: Tensor) -> None:
    with pytest.raises(ContractError, match=message):
        model(IMAGES).explain(x)


@pytest.mark.parametrize("method", ["evidence", "units", "losses"])
def test_a_missing_method_is_named_with_its_class(method: str, x: Tensor) -> None:
    model = {"evidence": NoEvidence, "units": NoUnits, "losses": NoLosses}[method](IMAGES)
    with pytest.raises(NotImplementedError, match=rf"{type(model).__name__} must define {method}\("):
        model.explain(x) if method != "losses" else model._evaluate((x, torch.zeros(2).long()), "val", 0)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (UnknownTerm, r"UnknownTerm.losses\(\) returned the term 'tusk', .*UnknownTerm.default_recipe .*task"),
        (VectorTerm, r"VectorTerm.losses\(\) must return scalar tensors; 'task' is shape \(2,\)"),
        (NoTerm, r"NoTerm.losses\(\) must return at least one term"),
    ],
)
def test_wrong_losses_are_named(model: type[Good], message: str, x: Tensor) -> None:
    """Regression: an unknown term used to end in a KeyError."""
    with pytest.raises(ContractError, match=message):
        model(IMAGES)._evaluate((x, torch.zeros(2).long()), "val", 0)


def test_a_model_without_recipe_is_named() -> None:
    class NoRecipe(SelfInterpretable):
        pass

    with pytest.raises(ContractError, match="NoRecipe must define default_recipe = Recipe"):
        NoRecipe(IMAGES)


def test_a_model_that_is_not_registered_cannot_be_saved_and_is_told_why(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="Good is not a registered model; decorate it with @register"):
        zoo.save(Good(IMAGES), tmp_path / "good")


def test_scores_that_are_not_finite_are_refused(x: Tensor) -> None:
    """Regression: models with NaN weights answered "nan %"."""
    model = Good(IMAGES)
    with torch.no_grad():
        model.head.weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="Good gives scores that are not finite"):
        model.explain(x)


def test_a_model_without_readout_and_head_is_named(x: Tensor) -> None:
    model = Good(IMAGES)
    del model.head
    with pytest.raises(ContractError, match=r"Good must define readout\(\), or have a linear layer `self.head`"):
        model.explain(x)


def test_a_model_that_keeps_no_arguments_cannot_be_saved_and_is_told_why(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_entries", "_classes", "_small"):  # the model of this test leaves the registry with it
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))

    @registry.register("forgetful", modality="image", paper="")
    class Forgetful(Good):
        def __init__(self, domain: Any, width: int = 3, recipe: Recipe | None = None) -> None:
            super().__init__(domain, recipe)

    with pytest.raises(ContractError, match=r"Forgetful.__init__\(\) must call self.keep_arguments\(.*not kept: width"):
        zoo.save(Forgetful(IMAGES), tmp_path / "forgetful")
