"""Models and circuits that several test files share; tests must not change them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.circuits.tokens import pairs, taught
from zoo.circuits import Circuit, Pruning, SparseTransformer, TokenPairTask, prune

OPTIONS = Pruning(steps=30, penalties=(1e-2,), lr=3e-2)


@pytest.fixture(scope="session")
def _taught() -> SparseTransformer:
    return taught()


@pytest.fixture
def model(_taught: SparseTransformer) -> Iterator[SparseTransformer]:
    """A sparse transformer that solves the task of `pairs`; tests must not change it."""
    before = _state(_taught)
    yield _taught
    assert _state(_taught) == before


@pytest.fixture(scope="session")
def code_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which the data modules of all fits keep their tokenizer and corpus."""
    return tmp_path_factory.mktemp("code")


@pytest.fixture(scope="session")
def held_out() -> TokenPairTask:
    return pairs(16, seed=5)


@pytest.fixture(scope="session")
def circuit(_taught: SparseTransformer, held_out: TokenPairTask) -> Circuit:
    """The circuit of the task in `model`, measured on `held_out`; pruning must not change the model."""
    before = _state(_taught)
    circuit = prune(_taught, "first token", pairs(16), held_out, OPTIONS)
    assert _state(_taught) == before
    return circuit


def _state(model: SparseTransformer) -> dict[str, object]:
    """Weights, modes and what is trained."""
    weights = {name: tensor.tolist() for name, tensor in model.state_dict().items()}
    modes = {f"mode of {name}": module.training for name, module in model.named_modules()}
    return {**weights, **modes, **{f"trained {name}": p.requires_grad for name, p in model.named_parameters()}}
