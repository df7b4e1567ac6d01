"""The four classic control problems, many at once in NumPy, with the dynamics of gymnasium.

CartPole: Barto, Sutton, Anderson, IEEE SMC 13 (1983). MountainCar: Moore, PhD thesis (1990). Acrobot: Sutton, NeurIPS
1995, in the version of the book by Sutton and Barto. Pendulum: the swing-up problem with a bounded torque.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

Array = np.ndarray


class Step(NamedTuple):
    """What an action leads to, for each of N worlds.

    Attributes:
        state: (N, S) after the action.
        reward: (N,).
        over: (N,) whether the episode has ended by itself, not by the limit of its length.
    """

    state: Array
    reward: Array
    over: Array


@dataclass(frozen=True)
class World(ABC):
    """A control problem; it holds no state, so that one object serves any number of episodes.

    Attributes:
        name: as in `WORLDS`.
        features: names of the F numbers that are observed, with their units.
        scale: of each number; an observation divided by it is about in [-1, 1].
        actions: names of the actions, or, if `continuous`, of the values that are chosen.
        limit: steps after which an episode is cut.
        continuous: whether an action is a value in [-bound, bound].
        bound: of the values.
    """

    name: ClassVar[str]
    features: ClassVar[tuple[str, ...]]
    scale: ClassVar[tuple[float, ...]]
    actions: ClassVar[tuple[str, ...]]
    limit: ClassVar[int]
    continuous: ClassVar[bool] = False
    bound: ClassVar[float] = 0.0

    @abstractmethod
    def reset(self, count: int, draws: np.random.Generator) -> Array:
        """States (count, S) at the start of an episode."""

    @abstractmethod
    def step(self, state: Array, action: Array) -> Step:
        """One step of N worlds, from states (N, S) and actions (N,) whole numbers, or (N, A) values."""

    @abstractmethod
    def controller(self, state: Array) -> Array:
        """Actions of a short, written controller that solves the problem; a reference for the return."""

    def observe(self, state: Array) -> Array:
        """What is observed of states (N, S): (N, F)."""
        return state.astype(np.float32)

    def potential(self, state: Array) -> Array:
        """(N,) how promising states are, for rewards shaped by its differences; 0 where shaping is not needed."""
        return np.zeros(len(state))


class CartPole(World):
    """A pole on a cart, to be kept upright by pushing the cart; 1 for each step, at most 500 (CartPole-v1)."""

    name = "cartpole"
    features = ("cart position [m]", "cart velocity [m/s]", "pole angle [rad]", "pole velocity [rad/s]")
    scale = (2.4, 2.0, 0.21, 2.0)
    actions = ("push left", "push right")
    limit = 500
    track, fall = 2.4, 12 * 2 * np.pi / 360

    def reset(self, count: int, draws: np.random.Generator) -> Array:
        return draws.uniform(-0.05, 0.05, (count, 4))

    def step(self, state: Array, action: Array) -> Step:
        x, v, angle, spin = state.T
        cos, sin = np.cos(angle), np.sin(angle)
        pull = (np.where(action == 1, 10.0, -10.0) + 0.05 * spin**2 * sin) / 1.1
        turn = (9.8 * sin - cos * pull) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
        push = pull - 0.05 * turn * cos / 1.1
        state = np.stack([x + 0.02 * v, v + 0.02 * push, angle + 0.02 * spin, spin + 0.02 * turn], 1)
        over = (np.abs(state[:, 0]) > self.track) | (np.abs(state[:, 2]) > self.fall)
        return Step(state, np.ones(len(state)), over)

    def controller(self, state: Array) -> Array:
        return (state @ np.array([0.1, 0.25, 3.0, 1.0]) > 0).astype(np.int64)


class MountainCar(World):
    """A car too weak to drive up a hill, which must swing; -1 for each step, at most 200 (MountainCar-v0)."""

    name = "mountaincar"
    features = ("position", "velocity")
    scale = (1.2, 0.07)
    actions = ("push left", "no push", "push right")
    limit = 200

    def reset(self, count: int, draws: np.random.Generator) -> Array:
        return np.stack([draws.uniform(-0.6, -0.4, count), np.zeros(count)], 1)

    def step(self, state: Array, action: Array) -> Step:
        position, velocity = state.T
        velocity = np.clip(velocity + (action - 1) * 0.001 - 0.0025 * np.cos(3 * position), -0.07, 0.07)
        position = np.clip(position + velocity, -1.2, 0.6)
        velocity = np.where((position == -1.2) & (velocity < 0), 0.0, velocity)
        over = (position >= 0.5) & (velocity >= 0)
        return Step(np.stack([position, velocity], 1), -np.ones(len(state)), over)

    def controller(self, state: Array) -> Array:
        return np.where(state[:, 1] < 0, 0, 2)

    def potential(self, state: Array) -> Array:
        """Mechanical energy, 0 at rest in the valley and about 1 where the car can reach the flag."""
        height = np.sin(3 * state[:, 0]) + 1
        return (0.0025 / 3 * height + 0.5 * state[:, 1] ** 2) / 0.0016


class Acrobot(World):
    """Two links, to be swung above a line by a motor between them; -1 a step, at most 500 (Acrobot-v1)."""

    name = "acrobot"
    features = (
        "cos of first angle",
        "sin of first angle",
        "cos of second angle",
        "sin of second angle",
        "first velocity [rad/s]",
        "second velocity [rad/s]",
    )
    scale = (1.0, 1.0, 1.0, 1.0, 4.0, 6.0)
    actions = ("torque -1", "no torque", "torque +1")
    limit = 500

    def reset(self, count: int, draws: np.random.Generator) -> Array:
        return draws.uniform(-0.1, 0.1, (count, 4))

    def step(self, state: Array, action: Array) -> Step:
        torque, dt = action - 1.0, 0.2  # one step of Runge and Kutta's method
        k1 = _links(state, torque)
        k2 = _links(state + dt / 2 * k1, torque)
        k3 = _links(state + dt / 2 * k2, torque)
        k4 = _links(state + dt * k3, torque)
        state = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        angles = (state[:, :2] + np.pi) % (2 * np.pi) - np.pi
        spins = np.clip(state[:, 2:], [-4 * np.pi, -9 * np.pi], [4 * np.pi, 9 * np.pi])
        state = np.concatenate([angles, spins], 1)
        over = -np.cos(state[:, 0]) - np.cos(state[:, 0] + state[:, 1]) > 1
        return Step(state, np.where(over, 0.0, -1.0), over)

    def observe(self, state: Array) -> Array:
        first, second = state[:, 0], state[:, 1]
        found = [np.cos(first), np.sin(first), np.cos(second), np.sin(second), state[:, 2], state[:, 3]]
        return np.stack(found, 1).astype(np.float32)

    def controller(self, state: Array) -> Array:
        return np.where(state[:, 2] > 0, 0, 2)


class Pendulum(World):
    """A pendulum, to be swung up and held by a weak motor; minus a cost each step, 200 steps (Pendulum-v1)."""

    name = "pendulum"
    features = ("cos of angle", "sin of angle", "velocity [rad/s]")
    scale = (1.0, 1.0, 8.0)
    actions = ("torque [N m]",)
    limit = 200
    continuous = True
    bound = 2.0

    def reset(self, count: int, draws: np.random.Generator) -> Array:
        return draws.uniform([-np.pi, -1.0], [np.pi, 1.0], (count, 2))

    def step(self, state: Array, action: Array) -> Step:
        angle, spin = state.T
        torque = np.clip(action.reshape(len(state), -1)[:, 0], -self.bound, self.bound)
        off = (angle + np.pi) % (2 * np.pi) - np.pi
        cost = off**2 + 0.1 * spin**2 + 0.001 * torque**2
        spin = np.clip(spin + (15 * np.sin(angle) + 3 * torque) * 0.05, -8, 8)
        return Step(np.stack([angle + 0.05 * spin, spin], 1), -cost, np.zeros(len(state), bool))

    def observe(self, state: Array) -> Array:
        return np.stack([np.cos(state[:, 0]), np.sin(state[:, 0]), state[:, 1]], 1).astype(np.float32)

    def controller(self, state: Array) -> Array:
        angle, spin = (state[:, 0] + np.pi) % (2 * np.pi) - np.pi, state[:, 1]
        missing = 15 * (1 - np.cos(angle)) - spin**2 / 2  # energy to the top
        swing = 2 * np.sign(spin + 1e-9) * np.sign(missing)
        hold = -12 * np.sin(angle) - 3 * spin
        return np.clip(np.where(np.abs(angle) < 0.6, hold, swing), -2, 2)[:, None]


WORLDS: dict[str, World] = {world.name: world() for world in (CartPole, MountainCar, Acrobot, Pendulum)}


def _links(state: Array, torque: Array) -> Array:
    """Time derivatives (N, 4) of the angles and velocities of the acrobot; masses and lengths are 1."""
    first, second, v1, v2 = state.T
    d1 = 0.25 + (1.25 + np.cos(second)) + 2
    d2 = 0.25 + 0.5 * np.cos(second) + 1
    phi2 = 0.5 * 9.8 * np.cos(first + second - np.pi / 2)
    phi1 = -0.5 * v2**2 * np.sin(second) - v1 * v2 * np.sin(second) + 1.5 * 9.8 * np.cos(first - np.pi / 2) + phi2
    a2 = (torque + d2 / d1 * phi1 - 0.5 * v1**2 * np.sin(second) - phi2) / (1.25 - d2**2 / d1)
    return np.stack([v1, v2, -(d2 * a2 + phi1) / d1, a2], 1)
