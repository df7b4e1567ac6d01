"""Fuzzy rules: what the temperature of the relevance does."""

import torch

from zoo.concepts.layers.fuzzy_rules import RuleBuilder


def test_a_temperature_of_a_hundred_selects_nothing() -> None:
    embeddings = torch.randn(6, 5, 4)
    torch.manual_seed(0)
    sharp = RuleBuilder(4, 2, 2.0)(embeddings)[1]
    torch.manual_seed(0)
    flat = RuleBuilder(4, 2, 100.0)(embeddings)[1]
    assert flat.min() > 0.999 and sharp.std() > 1e-3
