"""Control problems as data: rows of observed states, and the worlds in which a policy acts."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.data.base.items import Rows
from zoo.data.base.module import DataModule
from zoo.data.synthetic.control_worlds import WORLDS, Array
from zoo.domain import TableDomain
from zoo.utils.checks import check_above, check_at_least, check_between, check_choice

SPLITS = ("train", "val", "test")
MOST = 10_000  # of what is counted, so that a slip of the pen does not fill the memory


class Minibatches(Dataset):
    """The minibatches of one update of a policy, in the order in which they are read.

    Attributes:
        batches: replaced before each epoch, see `zoo.training.rollout.collect`.
        count: how many there are in each epoch.
    """

    def __init__(self, first: dict[str, Tensor], count: int) -> None:
        self.batches, self.count = [first], count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return self.batches[i % len(self.batches)]


class Control(DataModule):
    """A control problem: CartPole, MountainCar, Acrobot or Pendulum, with the dynamics of gymnasium.

        name          observed   actions            an episode ends                        reward    controller
        cartpole      4          2                  when the pole falls, or after 500      1 a step       500
        mountaincar   2          3                  at the flag, or after 200             -1 a step      -120
        acrobot       6          3                  when the tip is high, or after 500    -1 a step       -86
        pendulum      3          a torque, ±2 N m   after 200 steps                       -cost          -152

    The last column is the mean return of a short, written controller over 200 episodes.

    A policy (see `zoo.policies`) collects its own training data: before each epoch it takes `steps` steps in `envs`
    worlds at once, and the epoch is `passes` passes over them, in minibatches. Worlds go on from epoch to epoch; their
    states are part of the checkpoint of a run, so that a resumed run repeats them. Validation and test are returns of
    the policy that takes its best action, over episodes whose starts are the same in every epoch.

    As a data set, for other models and for the metrics of explanations, the rows are states that the controller visits
    when every other action is random, and the targets are the actions of the controller.

    Args:
        name: of the problem, see above.
        envs: worlds that are stepped at once.
        steps: of each, in an epoch.
        passes: over the steps in an epoch.
        discount: of the rewards of later steps, in [0, 1].
        trace: λ of the generalised advantage estimation, in [0, 1].
        shaping: factor of the change of potential that is added to rewards in training, for MountainCar only; it does
            not change which policy is best (Ng et al., ICML 1999), and returns are those without it.
        episodes: of a validation.
        test_episodes: of the test.
        rows: number of states in each split.
        batch_size: items per batch, and steps per minibatch.
        **loading: the other options of `DataModule`.

    Raises:
        ValueError: an unknown name, or an argument out of range.
    """

    def __init__(
        self,
        name: str = "cartpole",
        envs: int = 32,
        steps: int = 64,
        passes: int = 4,
        discount: float = 0.99,
        trace: float = 0.95,
        shaping: float = 0.0,
        episodes: int = 20,
        test_episodes: int = 100,
        rows: int = 1000,
        batch_size: int = 256,
        **loading: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **loading)
        check_choice(WORLDS, name=name)
        check_between(1, MOST, envs=envs, passes=passes, episodes=episodes, test_episodes=test_episodes)
        check_between(2, MOST, steps=steps)
        check_between(10, 100 * MOST, rows=rows)
        check_between(0, 1, discount=discount, trace=trace)
        check_at_least(0, shaping=shaping)
        check_above(1, batch_size=batch_size)
        self.envs, self.steps, self.passes, self.rows = envs, steps, passes, rows
        self.discount, self.trace, self.shaping = discount, trace, shaping
        self.episodes = {"val": episodes, "test": test_episodes}
        self.world = WORLDS[name]
        self.running: Array | None = None  # (envs, S) states of the worlds of the training
        self.ages = np.zeros(envs, dtype=np.int64)  # steps since each began
        self._drawn: dict[str, Rows] = {}
        self._minibatches: Minibatches | None = None

    def make_domain(self) -> TableDomain:
        world = self.world
        task = "regression" if world.continuous else "classification"
        return TableDomain(classes=world.actions, features=world.features, std=world.scale, task=task)

    def inputs(self, state: Array) -> Tensor:
        """Inputs (N, F) of a model, from states (N, S)."""
        return torch.from_numpy(self.world.observe(state) / np.array(self.world.scale, dtype=np.float32))

    def items(self, split: str, training: bool) -> Rows:
        if split not in self._drawn:
            draws = np.random.default_rng([self.seed, SPLITS.index(split)])
            state = visited(self.world.name, self.rows, draws)
            action = self.world.controller(state)
            targets = torch.from_numpy(action).float() if self.world.continuous else torch.from_numpy(action)
            names = [f"{self.world.name} {split} {i}" for i in range(self.rows)]
            self._drawn[split] = Rows(self.inputs(state), targets, names)
        return self._drawn[split]

    @property
    def minibatches(self) -> Minibatches:
        """What the epochs of a policy read; until it has acted, the first rows."""
        if self._minibatches is None:
            rows = self.items("train", False)
            count = self.passes * -(-self.envs * self.steps // self.batch_size)
            first = {"input": rows.inputs[: self.batch_size], "target": rows.targets[: self.batch_size]}
            self._minibatches = Minibatches(first, count)
        return self._minibatches

    def train_dataloader(self) -> DataLoader:
        if self.trainer is None or not getattr(self.trainer.lightning_module, "acts", False):
            return super().train_dataloader()  # a model that learns the actions of the controller
        if self.trainer.world_size > 1:
            raise ValueError("policies are trained by one process; use --trainer.devices 1.")
        return DataLoader(self.minibatches, batch_size=None)

    def state_dict(self) -> dict[str, Any]:
        if self.running is None:
            return {}
        return {"running": torch.from_numpy(self.running), "ages": torch.from_numpy(self.ages)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict:
            self.running, self.ages = state_dict["running"].numpy().copy(), state_dict["ages"].numpy().copy()


def visited(name: str, count: int, draws: np.random.Generator) -> Array:
    """States (count, S) that the controller of a world visits, in random order, when half of its actions are random."""
    world, found = WORLDS[name], []
    state, envs = world.reset(16, draws), 16
    for _ in range(-(-4 * count // envs)):
        found.append(state)
        action = world.controller(state)
        other = draws.uniform(-world.bound, world.bound, action.shape)
        other = other if world.continuous else draws.integers(len(world.actions), size=envs)
        chance = draws.random(envs) < 0.5
        state = world.step(state, np.where(chance[:, None] if world.continuous else chance, other, action))
        again = state.over | (draws.random(envs) < 1 / world.limit)
        state = np.where(again[:, None], world.reset(envs, draws), state.state)
    states = np.concatenate(found)
    return states[draws.permutation(len(states))[:count]]
