"""`train.py predict`: the predictions of a run or a checkpoint as a table."""

from zoo.cli.prediction_table import PredictionTable
from zoo.cli.run_settings import settings_of
from zoo.cli.trained import open_trained
from zoo.cli.training_run import make_trainer, plain_errors


def predict(arguments: list[str]) -> int:
    """Writes the predictions of a trained run, or of a checkpoint, for its test data to predictions.csv.

    The file is in the folder of the run. Each row has the item, its label, the prediction, its score and the
    probability of every class; with `--explain true`, also the units with the largest contributions.
    """
    settings = settings_of(arguments, "predict")
    if settings is None:
        return 0
    trained = open_trained(settings, "predict")
    table = PredictionTable(trained.folder / "predictions.csv", settings.run.top if settings.run.explain else 0)
    with plain_errors():
        trainer = make_trainer(settings, [table], logger=False, enable_checkpointing=False)
        trainer.predict(
            trained.model,
            datamodule=trained.data,
            ckpt_path=trained.weights,
            return_predictions=False,
            weights_only=True,
        )
    return 0
