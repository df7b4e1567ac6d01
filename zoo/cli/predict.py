"""`train.py predict`: the predictions of a run as a table."""

from zoo.cli.prediction_table import PredictionTable
from zoo.cli.training_run import build, folder_of, make_trainer, settings_of, weights_of


def predict(arguments: list[str]) -> int:
    """Writes the predictions of a trained run for its test data to predictions.csv in the folder of the run."""
    settings = settings_of(arguments, "predict", predict.__doc__)
    if settings is None:
        return 0
    folder = folder_of(settings)
    weights = weights_of(settings.run, folder)
    model, data = build(settings)
    table = PredictionTable(folder / "predictions.csv")
    trainer = make_trainer(settings, [table], logger=False, enable_checkpointing=False)
    trainer.predict(model, datamodule=data, ckpt_path=weights, return_predictions=False, weights_only=True)
    return 0
