"""`train.py validate` and `train.py test`: the metrics of a run."""

from zoo.cli.training_run import build, folder_of, make_trainer, settings_of, weights_of


def validate(arguments: list[str]) -> int:
    """Computes the metrics of a trained run on the validation data of its config."""
    return run(arguments, "validate", validate.__doc__)


def test(arguments: list[str]) -> int:
    """Computes the metrics of a trained run on the test data of its config."""
    return run(arguments, "test", test.__doc__)


def run(arguments: list[str], command: str, description: str | None) -> int:
    """Runs the Trainer's method named like the command."""
    settings = settings_of(arguments, command, description)
    if settings is None:
        return 0
    weights = weights_of(settings.run, folder_of(settings))
    model, data = build(settings)
    trainer = make_trainer(settings, logger=False, enable_checkpointing=False)
    getattr(trainer, command)(model, datamodule=data, ckpt_path=weights, weights_only=True)
    return 0
