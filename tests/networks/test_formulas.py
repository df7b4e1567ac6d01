"""Formulas: extraction from data that follow a known rule."""

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.networks.entropy_head import EntropyHead
from zoo.networks.formulas import extract_formula, formula_holds


def xor_with_noise(rows: int = 1000, noise: int = 100) -> tuple[Tensor, Tensor]:
    """Binary concepts of which the first two decide."""
    concepts = torch.randint(0, 2, (rows, 2 + noise), generator=torch.Generator().manual_seed(0)).float()
    return concepts, (concepts[:, 0] != concepts[:, 1]).long()


def test_entropy_network_finds_two_of_a_hundred_and_two_concepts() -> None:
    torch.manual_seed(0)
    concepts, target = xor_with_noise()
    head = EntropyHead(102, 2, hidden=20, temperature=0.6)
    optimizer = torch.optim.AdamW(head.parameters(), 0.02)
    wanted = F.one_hot(target, 2).float()
    for _ in range(400):
        loss = F.binary_cross_entropy_with_logits(head(concepts), wanted) + 1e-3 * head.entropy()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    predicted = head(concepts).argmax(1)
    assert torch.equal(predicted, target)
    for c in range(2):
        assert head.kept()[c].nonzero().flatten().tolist() == [0, 1]
        formula = extract_formula(concepts.bool(), predicted == c, target == c, head.kept()[c], terms=8)
        assert int((formula != 0).sum()) == 4 and len(formula) == 2  # complexity 4: two terms of two literals
        assert torch.equal(formula_holds(formula[None], concepts.bool())[:, 0], target == c)


def test_formulas_lose_literals_that_do_not_matter() -> None:
    present = torch.tensor(list(product((False, True), repeat=3)))
    target = present[:, 0] & present[:, 1]
    formula = extract_formula(present, target, target, torch.ones(3, dtype=torch.bool), terms=4)
    assert formula.tolist() == [[1, 1, 0]]
