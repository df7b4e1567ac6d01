"""The rule layer on all literals, against the rules by hand."""

from itertools import product

import torch

from zoo.concepts.layers.rule_layer import RuleLayer


def test_rules_are_exactly_what_holds() -> None:
    rules, literals = RuleLayer(4, 2, (0.999, 8, 1)), torch.tensor(list(product((0.0, 1.0), repeat=4)))
    with torch.no_grad():
        rules.conjunctions.copy_(torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 0]]))
        rules.disjunctions.copy_(torch.tensor([[0, 1.0, 0, 1], [0, 0, 0, 0]]))
    holds = rules.holds(literals)
    assert torch.equal(holds[:, 0].bool(), (literals[:, 0] > 0) & (literals[:, 2] > 0))
    assert torch.equal(holds[:, 2].bool(), (literals[:, 1] > 0) | (literals[:, 3] > 0))
    assert (holds[:, 1] == 1).all() and (holds[:, 3] == 0).all()
    torch.testing.assert_close(rules(literals), holds, rtol=0, atol=2e-2)  # binary weights: the continuous form agrees
