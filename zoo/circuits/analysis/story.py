"""The story of a circuit: sentences about what its nodes do, each with an intervention that tests it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.circuits.analysis.intervene import KINDS, Effect, Intervention, intervene, parse_interventions
from zoo.circuits.analysis.token_pair_task import TokenPairTask
from zoo.circuits.network.circuit import Circuit
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.utils.checks import check_at_least, check_choice
from zoo.utils.errors import did_you_mean
from zoo.utils.yaml_files import ConfigLoader, read_yaml

WITHIN = ("circuit", "network")
LARGEST = 1000  # pairs of prompts, and experiments


@dataclass(frozen=True)
class Experiment:
    """A sentence, and an intervention whose effect it predicts."""

    says: str
    """What the nodes do."""
    interventions: tuple[Intervention, ...]
    """Applied in this order."""
    expect: Mapping[str, float]
    """Values of `Effect` by name, such as {"flipped": 0.9}."""
    within: str = "circuit"
    """"circuit": everything outside it is ablated; or "network"."""
    tolerance: float = 0.05
    """Largest difference of a measured value from the expected one."""

    def __post_init__(self) -> None:
        check_choice(WITHIN, within=self.within)
        check_at_least(0, tolerance=self.tolerance)
        if not self.says or not self.interventions or not self.expect:
            raise ValueError("an experiment needs a sentence `says`, an intervention, and values to `expect`.")
        for name in self.expect:
            if name not in Effect._fields:
                raise ValueError(f"an effect has no '{name}'; {did_you_mean(name, Effect._fields)}")

    @staticmethod
    def parse(given: Mapping[str, Any]) -> "Experiment":
        """Reads an experiment from plain data: `says`, `expect`, kinds of interventions, `within`, `tolerance`.

        Raises:
            ValueError: an unknown entry, a missing one, or one of another type.
        """
        known = ("says", "expect", "within", "tolerance", *KINDS)
        for name in given:
            if name not in known:
                raise ValueError(f"an experiment has no '{name}'; {did_you_mean(str(name), known)}")
        says, expect, tolerance = given.get("says"), given.get("expect"), given.get("tolerance", 0.05)
        if not isinstance(says, str) or not isinstance(expect, Mapping):
            raise ValueError("an experiment needs `says`, a sentence, and `expect`, values by name such as {moved: 1}.")
        for value in (*expect.values(), tolerance):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"expected numbers in `expect` and `tolerance` of '{says:.60}'; got {value!r:.40}.")
        interventions = parse_interventions({name: given[name] for name in given if name in KINDS})
        numbers = {str(name): float(value) for name, value in expect.items()}
        return Experiment(says, interventions, numbers, str(given.get("within", "circuit")), float(tolerance))


@dataclass(frozen=True)
class Outcome:
    """What an experiment measured."""

    experiment: Experiment
    """What was done."""
    effect: Effect
    """What was measured."""

    @property
    def passed(self) -> bool:
        """Whether every expected value was measured, within the tolerance."""
        found, one = self.effect._asdict(), self.experiment
        return all(abs(found[name] - value) <= one.tolerance + 1e-6 for name, value in one.expect.items())

    def to_dict(self) -> dict[str, Any]:
        """Sentence, interventions, expected and measured values, and whether they agree, as plain data."""
        one, measured = self.experiment, self.effect._asdict()
        return {
            "says": one.says,
            "interventions": [{"kind": i.kind, "targets": dict(i.targets)} for i in one.interventions],
            "within": one.within,
            "expect": dict(one.expect),
            "tolerance": one.tolerance,
            "measured": {name: measured[name] for name in Effect._fields},
            "passed": self.passed,
        }


@dataclass(frozen=True)
class Story:
    """Experiments about the circuit of a task, stored as a YAML file of the circuit's name next to it.

        task: single_double_quote
        pairs: 64
        seed: 0
        experiments:
        - says: Channel 3, which the attention of layer 0 writes, carries the kind of quote.
          swap: [layer 0 attn_out 3]
          expect: {moved: 0.56, flipped: 0.47}

    For the kinds of interventions see `Intervention`, for the places `zoo.circuits.network.places.find_places`.
    """

    task: str
    """Name of the task."""
    experiments: tuple[Experiment, ...]
    """In the order of the story."""
    pairs: int = 64
    """Number of held-out pairs of prompts."""
    seed: int = 0
    """Of the pairs."""

    @staticmethod
    def load(path: str | Path) -> "Story":
        """Reads a story.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a story; the message says what is wrong.
        """
        given = read_yaml(Path(path), ConfigLoader)
        try:
            return Story.parse(given)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @staticmethod
    def parse(given: Any) -> "Story":
        """Reads a story from plain data.

        Raises:
            ValueError: an unknown entry, a missing one, or one of another type.
        """
        known = ("task", "pairs", "seed", "experiments")
        if not isinstance(given, Mapping) or not isinstance(given.get("task"), str):
            raise ValueError("a story is a mapping with the name of its `task` and a list of `experiments`.")
        for name in given:
            if name not in known:
                raise ValueError(f"a story has no '{name}'; {did_you_mean(str(name), known)}")
        pairs, seed, experiments = given.get("pairs", 64), given.get("seed", 0), given.get("experiments")
        if type(pairs) is not int or type(seed) is not int or not 1 <= pairs <= LARGEST:
            raise ValueError(f"`pairs` must be an integer from 1 to {LARGEST} and `seed` one; got {pairs!r}, {seed!r}.")
        if not isinstance(experiments, list) or not all(isinstance(one, Mapping) for one in experiments):
            raise ValueError("`experiments` must be a list of mappings.")
        if not 1 <= len(experiments) <= LARGEST:
            raise ValueError(f"a story has 1 to {LARGEST} experiments; got {len(experiments)}.")
        return Story(given["task"], tuple(Experiment.parse(one) for one in experiments), pairs, seed)

    @property
    def swaps(self) -> bool:
        """Whether an experiment swaps values, so that the prompts of each pair must have the same length."""
        return any(i.kind == "swap" for one in self.experiments for i in one.interventions)

    def run(self, model: SparseTransformer, task: TokenPairTask, circuit: Circuit | None = None) -> list[Outcome]:
        """Makes all experiments.

        Args:
            model: of the circuit.
            task: held-out prompts.
            circuit: of the task.

        Raises:
            ValueError: see `intervene`; or an experiment within the circuit, and no circuit.
        """
        if circuit is None and any(one.within == "circuit" for one in self.experiments):
            raise ValueError("an experiment of this story is within the circuit, and no circuit was given.")
        return [self._outcome(model, task, one, circuit) for one in self.experiments]

    def _outcome(
        self, model: SparseTransformer, task: TokenPairTask, one: Experiment, circuit: Circuit | None
    ) -> Outcome:
        held = circuit if one.within == "circuit" else None
        return Outcome(one, intervene(model, task, one.interventions, held, self.seed))


def outcomes_text(outcomes: Sequence[Outcome]) -> str:
    """A line for each experiment: its verdict, sentence, and expected and measured values."""
    lines = []
    for outcome in outcomes:
        one, found = outcome.experiment, outcome.effect._asdict()
        values = ", ".join(f"{name} {found[name]:.3f} (expected {value:g})" for name, value in one.expect.items())
        lines.append(f"  {'ok  ' if outcome.passed else 'FAILED'}  {one.says} [{one.within}: {values}]")
    return "\n".join(lines)
