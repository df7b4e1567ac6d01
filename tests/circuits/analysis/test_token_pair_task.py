"""Token-pair tasks: their loss, its calibration, and malformed pairs."""

import math

import pytest
import torch

from tests.circuits.tokens import pairs, transformer
from zoo.circuits import TokenPairTask
from zoo.circuits.analysis.token_pair_task import (
    calibrated_loss,
    evaluate_task,
    logit_differences,
    scores_of,
    task_loss,
)


def test_the_two_prompts_of_a_pair_swap_their_answers() -> None:
    prompts = torch.tensor([[[7, 8, 0], [9, 8, 0]]])
    task = TokenPairTask.of_pairs(prompts, torch.tensor([[4, 5]]))
    assert task.tokens.tolist() == [[7, 8], [9, 8]]  # without the padding that all prompts share
    assert task.right.tolist() == [4, 5] and task.wrong.tolist() == [5, 4]


def test_logit_differences_are_those_of_the_last_token() -> None:
    model, task = transformer(), pairs(3)
    with torch.no_grad():
        scores = model(task.tokens)
        found = logit_differences(model.network, task)
    for i, (right, wrong) in enumerate(zip(task.right, task.wrong, strict=True)):
        torch.testing.assert_close(found[i], scores[i, right] - scores[i, wrong], rtol=1e-4, atol=1e-5)


def test_the_loss_of_a_network_without_weights_is_chance() -> None:
    model = transformer()
    with torch.no_grad():
        for p in model.network.parameters():
            p.zero_()
    assert evaluate_task(model.network, pairs(4))["loss"] == pytest.approx(0.6931, abs=1e-4)


def test_the_worse_answer_is_told() -> None:
    """A network that always gives the first answer is right on half of the prompts."""
    scores = scores_of(torch.tensor([2.0, -2.0, 1.0, -1.0]))
    assert scores["accuracy"] == 0.5 and scores["worst_accuracy"] == 0
    assert scores["worst_loss"] == pytest.approx((math.log1p(math.e**2) + math.log1p(math.e)) / 2)
    assert scores_of(torch.tensor([2.0]))["worst_accuracy"] == 1


def test_calibration_fits_scale_and_shift() -> None:
    difference = torch.tensor([0.1, -0.05, 0.12, -0.06])  # a shift towards the second answers makes all of them right
    first = torch.tensor([True, False, True, False])
    assert calibrated_loss(difference, first) < 0.1 < task_loss(difference)


@pytest.mark.parametrize(
    ("prompts", "answers", "message"),
    [
        (torch.zeros(3, 4), torch.zeros(3, 2), r"expected prompts \(N, 2, T\)"),
        (torch.ones(1, 2, 3).long(), torch.ones(1, 2).long(), "the same token"),
    ],
)
def test_malformed_pairs(prompts: torch.Tensor, answers: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenPairTask.of_pairs(prompts, answers)
