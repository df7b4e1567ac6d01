"""The beginning of a fit: what is resumed or replaced, and the record of the run."""

from pathlib import Path

from zoo.cli.run_folder import TRAINED, clear, first_process
from zoo.cli.run_record import domain_differences, make_record, read_record, require_same
from zoo.cli.run_settings import to_dict
from zoo.cli.settings import Settings
from zoo.cli.training_run import existing
from zoo.data.base.fingerprint import fingerprint
from zoo.data.base.module import DataModule
from zoo.training.callbacks import read_checkpoint
from zoo.training.staged_module import StagedModule
from zoo.utils.atomic import write_text
from zoo.utils.yaml_files import dump_yaml

OUTDATED = ("predictions.csv", "validation_metrics.json", "validation_confusion.csv", "validation_confusion.png")


def resume_path(settings: Settings, folder: Path) -> Path | None:
    """The Lightning checkpoint to resume from; None for a new run.

    Raises:
        FileNotFoundError: there is none.
        FileExistsError: the folder holds a run that would be lost.
        ValueError: the run is to be resumed and to be removed.
    """
    wanted, overwrite = settings.run.ckpt_path, settings.run.overwrite
    path = folder / "last.ckpt" if wanted == "last" else Path(wanted) if wanted else None
    if path is not None:
        existing(path, "There is no run to resume; leave out --ckpt_path.")
    own = path is not None and path.resolve().parent == folder.resolve()
    if own and overwrite:
        raise ValueError("--overwrite true would remove the run that --ckpt_path resumes; give one of them.")
    if not own and not overwrite and first_process() and any((folder / name).exists() for name in TRAINED):
        raise FileExistsError(
            f"{folder} holds a run already; resume it with --ckpt_path last, replace it with --overwrite true, or "
            "choose another --output."
        )
    return path


def begin(settings: Settings, model: StagedModule, data: DataModule, folder: Path, resumed: Path | None) -> None:
    """Compares a resumed run with its record, or clears the folder for a new one; then writes record and config.

    Raises:
        ValueError: config, domain or items differ from those of the run, and `force` is not given; or the optimizer
            is another one.
    """
    config = to_dict(settings)
    record = make_record(config, data.domain, fingerprint(data), model.recipe.teacher)
    if resumed is not None:
        before = read_record(resumed.parent)
        stored = read_checkpoint(resumed, mmap=True).get("hyper_parameters", {})
        domain, optimizer = stored.get("domain", data.domain), stored.get("recipe", {}).get("optimizer")
        found = domain_differences(domain, data.domain) if before is None else before.differences(record)
        require_same(found, f"resume {resumed}", settings.run.force)
        if optimizer not in (None, model.recipe.optimizer):  # not even if the user insists
            raise ValueError(
                f"{resumed} holds the state of the optimizer '{optimizer}', from which '{model.recipe.optimizer}' "
                "cannot go on; keep the optimizer, or start a new run."
            )
    elif settings.run.overwrite:
        clear(folder)
    for name in OUTDATED:
        (folder / name).unlink(missing_ok=True)
    record.save(folder)
    write_text(folder / "config.yaml", dump_yaml(config))
