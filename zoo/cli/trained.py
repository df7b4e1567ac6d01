"""What validate, test and predict read: a trained model and data of the same meaning."""

from dataclasses import dataclass
from pathlib import Path

from zoo.checkpoints.load import load
from zoo.checkpoints.pretrained import find
from zoo.cli.run_folder import first_process
from zoo.cli.run_record import domain_differences, require_same, split_differences
from zoo.cli.run_settings import folder_of
from zoo.cli.settings import Settings
from zoo.cli.training_run import build_data, build_model, weights_of
from zoo.data.base.fingerprint import fingerprint
from zoo.data.base.module import DataModule
from zoo.training.callbacks import read_checkpoint
from zoo.training.staged_module import StagedModule


@dataclass(frozen=True)
class Trained:
    """A trained model, its data, and where its results belong.

    Attributes:
        model: with its weights if it comes from a checkpoint folder.
        data: that it reads.
        weights: Lightning checkpoint that the Trainer loads; None if the model has its weights.
        folder: for results.
    """

    model: StagedModule
    data: DataModule
    weights: str | None
    folder: Path


def open_trained(settings: Settings, command: str) -> Trained:
    """The trained model and the data that the settings name.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: the classes, concepts or preprocessing of the data are not those of the model, or the checkpoint is
            damaged; or `--checkpoint` and `--ckpt_path` are both given.
    """
    run, folder = settings.run, folder_of(settings)
    if run.checkpoint is not None:
        if run.ckpt_path is not None:
            raise ValueError("--checkpoint names a folder with a model, --ckpt_path a file; give one of them.")
        source = find(run.checkpoint)
        model, data = load(source), build_data(settings)
        require_same(domain_differences(model.domain.to_dict(), data.domain), f"{command} {source}", run.force)
        return Trained(model, data, None, folder)
    weights = weights_of(run, folder)
    stored = read_checkpoint(weights, mmap=True).get("hyper_parameters", {}).get("domain")
    data = build_data(settings)
    if stored is not None:
        require_same(domain_differences(stored, data.domain), f"{command} {weights}", run.force)
    return Trained(build_model(settings, data), data, weights, folder)


def require_same_items(trained: Trained, settings: Settings, command: str, split: str) -> None:
    """Refuses to compute metrics on other items than those that the run held out, or prints how they differ.

    They may be among those that the run was trained on, as with another seed of the split. Other data that are given
    beside `--checkpoint` are meant to differ.

    Raises:
        ValueError: size or content of the split is not that of the run.
    """
    run = settings.run
    source = Path(trained.weights).parent if trained.weights else find(run.checkpoint or "").parent
    if first_process():
        found = split_differences(source, fingerprint(trained.data, (split,)))
        require_same(found, f"{command} {source}", run.force or run.checkpoint is not None)
