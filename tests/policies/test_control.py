"""The control problems: their dynamics are those of gymnasium, step for step; what a policy experiences in them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from zoo.data import Control
from zoo.data.synthetic.control_worlds import WORLDS
from zoo.domain import TableDomain
from zoo.training.ppo import Critic
from zoo.training.rollout import advantages, collect, draws_of, interval, play

NAMES = {"cartpole": "CartPole-v1", "mountaincar": "MountainCar-v0", "acrobot": "Acrobot-v1", "pendulum": "Pendulum-v1"}
REACHED = {"cartpole": 500, "mountaincar": -125, "acrobot": -110, "pendulum": -190}


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_those_of_gymnasium(name: str) -> None:
    gymnasium = pytest.importorskip("gymnasium")
    world, theirs, draws = WORLDS[name], gymnasium.make(NAMES[name]), np.random.default_rng(0)
    assert theirs.spec.max_episode_steps == world.limit
    for episode in range(2):
        theirs.reset(seed=episode)
        state = np.array(theirs.unwrapped.state, dtype=float)[None]
        for t in range(world.limit):
            values = draws.uniform(-2.5, 2.5, (1, 1))
            action = values if world.continuous else draws.integers(len(world.actions), size=1)
            observed, reward, over, cut, _ = theirs.step(action[0] if world.continuous else int(action[0]))
            step = world.step(state, action)
            state = step.state
            np.testing.assert_allclose(world.observe(state)[0], observed, rtol=1e-6, atol=1e-6)
            assert step.reward[0] == pytest.approx(float(reward)) and bool(step.over[0]) == over
            if over or cut:
                assert over or t == world.limit - 1
                break


def test_a_step_of_cartpole_by_hand() -> None:
    """From rest with the pole upright, pushed to the right: F = 10 N, masses 1 and 0.1 kg, half-length 0.5 m."""
    state = WORLDS["cartpole"].step(np.zeros((1, 4)), np.array([1])).state[0]
    turn = -(10 / 1.1) / (0.5 * (4 / 3 - 0.1 / 1.1))
    np.testing.assert_allclose(state, [0, 0.02 * (10 / 1.1 - 0.05 * turn / 1.1), 0, 0.02 * turn])


@pytest.mark.parametrize("name", NAMES)
def test_the_written_controller_solves_it(name: str) -> None:
    data = Control(name)
    found = play(data, data.world.controller, 20, draws_of(data, "test"), sees_states=True)
    assert found.returns.mean() >= REACHED[name]


def test_rows_are_states_with_the_actions_of_the_controller() -> None:
    data = Control("cartpole", rows=50)
    rows = data.test_dataset()
    states = rows.inputs.double() * torch.tensor(data.world.scale)
    assert torch.equal(rows.targets, torch.from_numpy(data.world.controller(states.numpy())))
    assert not torch.equal(rows.inputs, data.val_dataset().inputs) and isinstance(data.make_domain(), TableDomain)
    again = Control("cartpole", rows=50)
    assert torch.equal(again.test_dataset().inputs, rows.inputs)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"name must be one of cartpole.*Did you mean 'cartpole'"):
        Control("cartpol")
    with pytest.raises(ValueError, match="discount must be in"):
        Control(discount=1.5)


def test_advantages_by_hand() -> None:
    """Three steps of two worlds; the first ends after its second step, the second is cut there."""
    reward = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    over = torch.tensor([[False, False], [True, False], [False, False]])
    done = torch.tensor([[False, False], [True, True], [False, False]])
    value, after = torch.full((3, 2), 10.0), torch.full((3, 2), 20.0)
    found = advantages({"reward": reward, "over": over, "done": done}, value, after, 0.5, 0.5)
    last = 3 + 10 - 10
    ended, cut = 2 - 10, 2 + 10 - 10  # the value of what follows counts only where the episode is not over
    first = torch.tensor([1 + 10 - 10 + 0.25 * ended, 1 + 10 - 10 + 0.25 * cut])
    torch.testing.assert_close(found, torch.stack([first, torch.tensor([ended, cut]).float(), torch.full((2,), last)]))


class Still(nn.Module):
    """A policy without preferences, in the shape that `collect` needs."""

    acts = True

    def __init__(self, data: Control) -> None:
        super().__init__()
        self.domain, self.device = data.make_domain(), torch.device("cpu")
        self.critic = Critic(self.domain)

    def step(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.zeros(len(x), len(self.domain.classes)), None


@pytest.mark.parametrize("name", ["cartpole", "pendulum"])
def test_worlds_go_on_from_epoch_to_epoch(name: str) -> None:
    data = Control(name, envs=4, steps=30, passes=2, batch_size=32)
    torch.manual_seed(0)
    model = Still(data)
    collect(model, data, 0)
    kept = data.state_dict()
    batches = data.minibatches.batches
    assert len(batches) == len(data.minibatches) == 2 * 4 and sum(len(b["input"]) for b in batches) == 2 * 120
    assert int(data.ages.max()) <= 30 and {b["target"].dtype for b in batches} != {torch.bool}
    torch.manual_seed(1)
    collect(model, data, 1)
    other = Control(name, envs=4, steps=30, passes=2, batch_size=32)
    other.load_state_dict(kept)
    torch.manual_seed(1)
    collect(model, other, 1)
    for mine, theirs in zip(data.minibatches.batches, other.minibatches.batches, strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_one_process_alone() -> None:
    data = Control()
    data.trainer = SimpleNamespace(lightning_module=Still(data), world_size=2)
    with pytest.raises(ValueError, match="one process"):
        data.train_dataloader()


def test_the_interval_holds_the_mean() -> None:
    low, high = interval(torch.arange(100).double())
    assert low < 49.5 < high and high - low == pytest.approx(4 * 28.9 / 10, rel=0.1)
    assert interval(torch.full((5,), 500.0)) == (500.0, 500.0)
