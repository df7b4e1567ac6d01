"""`train.py play`: writes a page that plays an episode of a policy."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

import zoo
from zoo.checkpoints.pretrained import find
from zoo.cli.arguments import CommandParser
from zoo.cli.checkpoint_data import add_force, data_of, require_same_domain
from zoo.core import registry
from zoo.core.module import SelfInterpretable
from zoo.data.base.module import DataModule
from zoo.data.synthetic.control import Control
from zoo.training.modes import evaluating
from zoo.training.rollout import greedy, play
from zoo.utils.atomic import write_text
from zoo.utils.printable import printable
from zoo.views.episode import episode_page


def play_episode(arguments: list[str]) -> int:
    """Plays an episode of a policy and writes it as a page, with the rule or the terms of each step.

    The data is that of the run. --data.init_args.NAME VALUE overrides a value of it, such as the name of the problem.
    """
    options, overrides = make_parser().parse_with_overrides(arguments)
    model = zoo.load(options.checkpoint)
    data = control_of(data_of(options.checkpoint, options.config, overrides, "play"), "play")
    require_same_domain(model, data, f"play {options.checkpoint}", options.force == "true")
    folder = options.checkpoint.resolve()
    name = folder.parent.name if folder.name == "checkpoint" else folder.name
    page, total, steps = page_of(model, data, options.seed, name)
    write_text(options.output, page)
    print(f"return {total:.1f} in {steps} steps -> {printable(options.output)}")
    return 0


def make_parser() -> CommandParser:
    """The options of the command."""
    parser = CommandParser("play", play_episode.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="name or folder of a checkpoint")
    parser.add_argument("--config", type=Path, help="config whose data to use (default: that of the run)")
    add_force(parser)
    parser.add_argument("--output", default=Path("episode.html"), type=Path, help="the page (default: episode.html)")
    parser.add_argument("--seed", type=int, default=0, help="of the start of the episode (default: 0)")
    return parser


def control_of(data: DataModule, command: str) -> Control:
    """Data in which a policy can act.

    Raises:
        ValueError: they are others.
    """
    if not isinstance(data, Control):
        raise ValueError(
            f"{command} needs a control problem to act in; the data are {type(data).__name__}. Give a policy, or a "
            "config whose data is Control with --config FILE."
        )
    return data


def page_of(model: SelfInterpretable, data: Control, seed: int, name: str) -> tuple[str, float, int]:
    """The page of an episode, its return and its number of steps.

    Args:
        model: the policy.
        data: the control problem.
        seed: of the start.
        name: of the policy, for the title.
    """
    draws: Any = np.random.default_rng(seed)
    with evaluating(model):
        episode = play(data, greedy(model), 1, draws, record=True)
    states = np.concatenate(episode.states)
    actions = torch.cat(episode.actions).cpu().numpy()
    rewards = data.world.step(states, actions).reward  # of each step alone
    explanation = model.explain(torch.cat(episode.inputs), every_class=True, reference="zero")
    total = float(episode.returns[0])
    facts = [f"{registry.find(registry.name_of(type(model))).class_name}; return of this episode {total:.1f}."]
    page = episode_page(
        f"{data.world.name}: {name}",
        explanation,
        torch.from_numpy(states),
        torch.from_numpy(np.cumsum(rewards)),
        data.world.name,
        data.world.bound,
        facts,
    )
    return page, total, len(states)
