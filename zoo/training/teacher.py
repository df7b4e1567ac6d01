"""The teacher of a recipe, as it stands in a config."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from zoo.training.black_box_file import FILE
from zoo.utils.checks import check_above, check_at_least


@dataclass(frozen=True)
class Teacher:
    """A trained black box whose scores are soft targets for the model.

    Raises:
        ValueError: a temperature that is not above 0, or a negative weight.
    """

    run: str
    """Folder of a finished run of `fit` with a `BlackBox`."""
    temperature: float = 2.0
    """Divides the logits of the teacher, and those of a student that has any; above 1 it shows near classes."""
    weight: float = 1.0
    """Weight of the distillation loss; 0: the teacher only gives its weights, see `start`."""
    start: bool = False
    """Copy the teacher's backbone, which must be that of the model, and its head, if it fits, before the training."""

    def __post_init__(self) -> None:
        check_above(0, temperature=self.temperature)
        check_at_least(0, weight=self.weight)

    @property
    def file(self) -> Path:
        """The file with the weights.

        Raises:
            FileNotFoundError: there is none.
        """
        path = Path(self.run) / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"the teacher {self.run} has no {FILE}; give the folder of a finished run of a BlackBox, such as "
                "`python train.py fit --config configs/worlds/blackbox_part_birds.yaml`."
            )
        return path

    @property
    def sha256(self) -> str:
        """Hash of the file with the weights, for the record of a run."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()
