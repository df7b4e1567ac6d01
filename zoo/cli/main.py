"""The command line. Every user error is one clear line; `ZOO_DEBUG=1` shows where it came from."""

import os
import sys
from pathlib import Path

USAGE = """usage: python train.py COMMAND ...

  fit       train a model by a config:    fit --config configs/prototypes/protopnet_digits.yaml
  validate  measure on validation data:   validate --config ...
  test      measure on test data:         test --config ...
  predict   a table of predictions:       predict --config ...
  explain   a page for each input:        explain --checkpoint runs/protopnet_digits/checkpoint --input a.png
  show      all that a model knows:       show --checkpoint runs/protopnet_digits/checkpoint --output model.html
  curves    how a training went:          curves --run runs/protopnet_digits --output curves.png
  evaluate  what a checkpoint is worth:   evaluate --checkpoint runs/cbm_trig/checkpoint --interventions all
  leaderboard  all that is trained:       leaderboard runs --config configs/worlds/blackbox_part_birds.yaml
  prune     the circuit of a task:        prune --checkpoint runs/sparse_idioms_cpu/checkpoint --task for_while
  forbid    a model without prototypes:   forbid --checkpoint runs/protopnet_digits/checkpoint --units 'three #2'
  check     whether checkpoints are whole: check [NAME ...]
  push-to-hub  a checkpoint for others:   push-to-hub --checkpoint runs/birds/checkpoint --repository me/birds
  score-concepts  how phrases fit training images, by CLIP:  score-concepts --config ... --concepts phrases.txt ...
  list      what there is:                list [models|data|configs|checkpoints|tasks]

COMMAND --help tells more, and every value of a config can be given on the command line:
  python train.py fit --config FILE --model.init_args.dim 64 --trainer.devices 2
"""
FITTING = ("fit", "validate", "test", "predict")
LOOKING = ("explain", "show", "curves", "evaluate", "leaderboard", "list")
COMMANDS = (*FITTING, *LOOKING, "prune", "forbid", "check", "push-to-hub", "score-concepts")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 done in part, 2 not done."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    try:
        return _run(arguments[0], arguments[1:])
    except (ValueError, TypeError, OSError, ArithmeticError, ImportError, RuntimeError) as error:
        if os.environ.get("ZOO_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def console() -> None:
    """The console script `zoo`."""
    sys.exit(main())


def _run(command: str, arguments: list[str]) -> int:
    if command not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(command, COMMANDS, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(COMMANDS)}."
        raise ValueError(f"no command named '{command}'; {hint}")
    if command in FITTING:
        _check(arguments)
        from zoo.cli.fit import FittingCLI

        FittingCLI([command, *arguments])
        return 0
    if command == "evaluate":
        from zoo.cli.evaluate import evaluate

        return evaluate(arguments)
    if command == "leaderboard":
        from zoo.cli.leaderboard import leaderboard

        return leaderboard(arguments)
    if command == "prune":
        from zoo.cli.prune import prune_tasks

        return prune_tasks(arguments)
    if command == "forbid":
        from zoo.cli.remove_prototypes import forbid

        return forbid(arguments)
    if command == "check":
        from zoo.cli.check import check

        return check(arguments)
    if command == "push-to-hub":
        from zoo.checkpoints.hub import push_to_hub

        return push_to_hub(arguments)
    if command == "score-concepts":
        from zoo.cli.score_concepts import score

        return score(arguments)
    if command == "explain":
        from zoo.cli.explain import explain

        return explain(arguments)
    if command in ("show", "curves"):
        from zoo.cli import show

        return show.show(arguments) if command == "show" else show.curves(arguments)
    from zoo.cli.list import list_things  # after the choice: each command imports what it needs, no more

    return list_things(arguments)


def _check(arguments: list[str]) -> None:
    """Looks through the config and the overrides for typos, before jsonargparse answers in its own words."""
    from zoo.cli import config

    merged: dict = {}
    for i, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name in ("--config", "-c"):
            path = Path(value or (arguments[i + 1] if i + 1 < len(arguments) else ""))
            found = config.read_config(path)
            config.check_config(found, str(path))
            merged |= found
    config.check_overrides(arguments, merged)
