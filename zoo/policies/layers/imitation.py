"""Epochs of imitation: what policy and teacher experience, labelled by the teacher (Ross et al., AISTATS 2011)."""

from typing import TYPE_CHECKING, Any

import torch

from zoo.policies.layers.viper import Labelled, Teacher
from zoo.training.modes import evaluating
from zoo.training.rollout import Episodes, draws_of, greedy, play

if TYPE_CHECKING:
    from zoo.data.synthetic.control import Control

EPISODES = 8  # of the teacher, and of the policy, in an epoch


@torch.no_grad()
def imitate(model: Any, data: "Control", teacher: Teacher, epoch: int) -> None:
    """Makes the minibatches of an epoch: states of episodes of teacher and policy, with the teacher's actions.

    Args:
        model: the policy.
        data: the control problem.
        teacher: labels the states.
        epoch: number of the epoch, on which all draws depend.
    """
    with evaluating(model):
        own = play(data, greedy(model), EPISODES, draws_of(data, "collect", epoch), record=True)
    found = experienced(teacher, own, epoch)
    wanted = data.minibatches.count * data.batch_size
    order = torch.randperm(len(found.inputs)).repeat(-(-wanted // len(found.inputs)))[:wanted]
    data.minibatches.batches = [
        {"input": found.inputs[rows].to(model.device), "target": found.actions[rows].to(model.device)}
        for rows in order.split(data.batch_size)
    ]


def experienced(teacher: Teacher, own: Episodes | None, number: int) -> Labelled:
    """States of episodes of the teacher and of others, labelled by the teacher."""
    found = teacher.label(teacher.play(EPISODES, number))
    if own is None:
        return found
    return Labelled(*(torch.cat(pair) for pair in zip(found, teacher.label(own), strict=True)))
