"""`train.py validate` and `train.py test`: the metrics of a run or a checkpoint."""

from zoo.cli.run_metrics import chosen_threshold, write_metrics
from zoo.cli.run_settings import settings_of
from zoo.cli.trained import open_trained, require_same_items
from zoo.cli.training_run import make_trainer, plain_errors


def validate(arguments: list[str]) -> int:
    """Computes the metrics of a trained run, or of a checkpoint, on the validation data of its config."""
    return run(arguments, "validate")


def test(arguments: list[str]) -> int:
    """Computes the metrics of a trained run, or of a checkpoint, on the test data of its config."""
    return run(arguments, "test")


def run(arguments: list[str], command: str) -> int:
    """Runs the Trainer's method named like the command, and writes the metrics."""
    settings = settings_of(arguments, command)
    if settings is None:
        return 0
    trained = open_trained(settings, command)
    split = "test" if command == "test" else "val"
    require_same_items(trained, settings, command, split)
    trained.model.decision_threshold = chosen_threshold(trained.folder)
    with plain_errors():
        trainer = make_trainer(settings, logger=False, enable_checkpointing=False)
        evaluate = getattr(trainer, command)
        evaluate(trained.model, datamodule=trained.data, ckpt_path=trained.weights, weights_only=True, verbose=False)
    write_metrics(trainer, trained.model, trained.folder, split)
    return 0
