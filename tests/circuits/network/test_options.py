"""Grouped constructor arguments."""

import pytest

from zoo.circuits.network.options import Positions, Sparsity, check_sizes
from zoo.utils.options import parse_options


def test_embeddings_of_wide_networks_are_denser() -> None:
    assert Sparsity(density=1 / 32).densities(128) == (1 / 32, 1 / 32)
    assert Sparsity(density=1 / 32).densities(512) == (1 / 32, 1 / 16)
    assert Sparsity(density=0.5).densities(1024) == (0.5, 1.0)
    assert Sparsity(density=0.5, embedding_density=0.25).densities(1024) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (Sparsity, {"density": 0.0}, r"density must be in \(0, 1\]; got 0.0"),
        (Sparsity, {"embedding_density": 1.5}, r"embedding_density must be in \(0, 1\]; got 1.5"),
        (Sparsity, {"activation_density": 2.0}, r"activation_density must be in \(0, 1\]"),
        (Sparsity, {"alive": -1}, "alive must be at least 0; got -1"),
        (Sparsity, {"sites": ["attn_in", "resid"]}, "sparsity.sites must be one of attn_in, .*; got 'resid'"),
        (Positions, {"kind": "rotary"}, "positions.kind must be one of learned, sinusoid, added; got 'rotary'"),
        (Positions, {"width": 0}, "positions.width must be at least 1; got 0"),
    ],
)
def test_bad_options(kind: type, given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_options(kind, given, kind.__name__.lower())


def test_bad_sizes() -> None:
    with pytest.raises(
        ValueError, match=r"width must be a multiple of head_width.*; got width=30, head_width=8, layers=2"
    ):
        check_sizes(30, 2, 8, 4)
