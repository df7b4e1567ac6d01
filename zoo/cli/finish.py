"""The end of a fit: the best epoch is tested, and written as a checkpoint."""

from pathlib import Path

import torch
from lightning import Trainer

from zoo.checkpoints.save import save
from zoo.checkpoints.shared_backbone import in_packages
from zoo.cli.run_metrics import confused_pairs, write_metrics
from zoo.core.module import SelfInterpretable
from zoo.data.base.module import DataModule
from zoo.domain import GraphDomain
from zoo.training.black_box import BlackBox
from zoo.training.black_box_file import save_network
from zoo.training.callbacks import restore_best
from zoo.training.staged_module import StagedModule

INPUTS = {
    "image": "IMAGE",
    "text": "'SOME TEXT'",
    "code": "'SOME CODE'",
    "table": "ROW.csv",
    "series": "SERIES.csv",
    "audio": "CLIP.wav",
    "graph": "GRAPH.json",
}
SMILES = "SMILES"


def finish(trainer: Trainer, model: StagedModule, data: DataModule, folder: Path) -> None:
    """Tests the best epoch; writes metrics.json and, for a self-interpretable model, the checkpoint.

    Without a best epoch, the weights at the end of the fit are tested: nothing was validated, or the fit ended before
    the last stage.

    Raises:
        RuntimeError: the fit ended before the model was ready to explain.
    """
    found = restore_best(model, folder)  # written by this fit: a new one starts in a folder without it
    if not found and trainer.is_global_zero:
        print("no best epoch: the weights at the end of the fit are tested.")
    if isinstance(model, SelfInterpretable):
        model.require_ready()
    if len(model.domain.classes) == 2 and found:  # the threshold of the test is chosen on the validation data
        trainer.validate(model, datamodule=data, verbose=False)
    trainer.test(model, datamodule=data, verbose=False)
    metrics = write_metrics(trainer, model, folder)
    if not trainer.is_global_zero:
        return
    if not isinstance(model, SelfInterpretable):
        if isinstance(model, BlackBox):
            save_network(model, model.arguments, folder)
        print(f"run      {folder} (no checkpoint: {type(model).__name__} is not self-interpretable)")
        return
    dataset = data.test_dataset()  # pyright: ignore[reportAttributeAccessIssue] (every data module of the zoo has one)
    golden = torch.stack([dataset[i]["input"] for i in range(2)])
    known = {name: value for name, value in metrics.items() if value is not None}
    about = {"name": folder.resolve().name, "confusions": confused_pairs(model)}
    model = model.cpu()
    shared = in_packages(model)  # the weights of a package are not stored again
    checkpoint = save(model, folder / "checkpoint", metrics=known, golden=golden, share_backbone=shared, about=about)
    print(f"saved    {checkpoint}")
    given = SMILES if isinstance(model.domain, GraphDomain) and model.domain.smiles else INPUTS[model.domain.modality]
    print(f"explain  python train.py explain --checkpoint {checkpoint} --input {given} --output out/")
