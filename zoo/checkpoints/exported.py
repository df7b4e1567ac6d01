"""Programs by `export`, read again: scores and explanations without the model, as far as the file holds them."""

import json
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.checkpoints.export import METADATA, OUTPUTS, Program, open_onnx, run_onnx
from zoo.core.evidence import Unit
from zoo.core.explanation import Explanation
from zoo.domain import Domain
from zoo.utils.errors import short
from zoo.utils.paths import check_file

ENDINGS = (".onnx", ".pt2")
LONGEST = 2**24  # bytes of a description within an archive
KEYS = {"model", "space", "classes", "units", "kinds", "targets", "domain"}
PICKLED = ("custom_obj", "opaque_obj")  # names of members of an archive that are read by pickle


class ExportedModel:
    """A program that explains its scores: what it gives is what the model gave, for the class of highest score.

    Args:
        program: from a batch of inputs to its outputs.
        outputs: their names, of `zoo.checkpoints.export.OUTPUTS`.
        metadata: see `zoo.checkpoints.export.metadata_of`.

    Raises:
        ValueError: outputs or metadata are not those of `export`.
    """

    device = torch.device("cpu")

    def __init__(self, program: Program, outputs: tuple[str, ...], metadata: Mapping[str, Any]) -> None:
        if missing := KEYS - set(metadata):
            raise ValueError(f"its description has no {', '.join(sorted(missing))}")
        if not {"scores", "target", "activation"} <= set(outputs) <= set(OUTPUTS):
            raise ValueError(f"its outputs are {', '.join(outputs)[:200]}; expected {', '.join(OUTPUTS)}")
        self.program, self.outputs, self.name = program, outputs, str(metadata["model"])
        self.domain, self.space = Domain.from_dict(metadata["domain"]), str(metadata["space"])
        named = zip(metadata["units"], metadata["kinds"], metadata["targets"], strict=True)
        self.units = tuple(Unit(str(name), str(kind), target) for name, kind, target in named)
        self.additive = "contributions" in outputs

    def __call__(self, x: Tensor) -> Tensor:
        """Scores (B, C) of inputs as the domain prepares them."""
        return self.run(x)["scores"]

    def run(self, x: Tensor) -> dict[str, Tensor]:
        """All outputs for a batch, by name.

        Raises:
            ValueError, TypeError: inputs that the domain refuses.
        """
        self.domain.check(x, self.name)
        with torch.no_grad():
            return dict(zip(self.outputs, self.program(x), strict=True))

    def explain(self, x: Tensor, target: int | None = None) -> Explanation:
        """The explanation of a batch; contributions are those to the score itself.

        Args:
            x: inputs as the domain prepares them.
            target: must be the predicted class of all rows, the only one that the file explains.

        Raises:
            ValueError: another target; or see `run`.
            ArithmeticError: scores are not finite, or contributions do not add up to them.
        """
        found = self.run(x)
        if not bool(found["scores"].isfinite().all()):
            raise FloatingPointError("the scores are not finite; look for extreme values in the input.")
        if target is not None and bool((found["target"] != target).any()):
            classes = self.domain.classes
            raise ValueError(
                f"an exported program explains the predicted class only, here '{classes[int(found['target'][0])]}', "
                f"not '{classes[target]}'; ask without a target, or serve the checkpoint."
            )
        terms: dict[str, Any] = {name: found.get(name) for name in OUTPUTS}
        told = Explanation(**terms, units=self.units, domain=self.domain, inputs=x, space=self.space)
        return told.check() if self.additive else told


def read_exported(path: str | Path, threads: int = 1) -> ExportedModel:
    """Reads a file by `export`, and explains two random inputs with it.

    Args:
        path: of a .onnx or .pt2 file. Parts of a .pt2 that only pickle could read are refused.
        threads: of the runtime of ONNX.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: a .onnx file needs the extra `onnx`.
        ValueError: the file is damaged, or not by `export`.
    """
    path = Path(path)
    check_file(path, "exported model")
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path} is no exported model; expected a file that ends in {' or '.join(ENDINGS)}.")
    try:
        model = (_read_onnx if path.suffix == ".onnx" else _read_pt2)(path, threads)
        model.explain(model.domain.example(2, torch.Generator().manual_seed(0)))
    except ImportError:
        raise
    except Exception as error:  # the readers raise errors of many private types
        raise ValueError(
            f"{path} is not a model by `train.py export` of this version ({short(str(error))}). Export it again."
        ) from error
    return model


def _read_onnx(path: Path, threads: int) -> ExportedModel:
    session = open_onnx(path, threads)
    text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    if text is None:
        raise ValueError(f"it has no {METADATA}")
    outputs = tuple(output.name for output in session.get_outputs())
    return ExportedModel(run_onnx(session), outputs, json.loads(text))


def _read_pt2(path: Path, threads: int) -> ExportedModel:
    check_archive(path)
    files = {METADATA: ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the reader, about its own internals
        program = torch.export.load(path, extra_files=files).module()
    if not files[METADATA]:
        raise ValueError(f"it has no {METADATA}")
    metadata = json.loads(files[METADATA])
    return ExportedModel(program, tuple(metadata.get("outputs", ())), metadata)


def check_archive(path: Path) -> None:
    """Refuses a .pt2 archive with parts that PyTorch would read by pickle, which can run any code.

    Raises:
        ValueError: it has such parts, or is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.rpartition("/")[2]
            if name.startswith(PICKLED):
                raise ValueError(f"its part {short(name)} is a pickle, which is never loaded")
            if name.endswith("_config.json"):
                if member.file_size > LONGEST:
                    raise ValueError(f"its part {short(name)} has {member.file_size:,} bytes")
                if _has_pickles(json.loads(archive.read(member))):
                    raise ValueError(f"{short(name)} names pickles, which are never loaded")


def _has_pickles(plain: Any) -> bool:
    if isinstance(plain, Mapping):
        return plain.get("use_pickle") is True or any(map(_has_pickles, plain.values()))
    return isinstance(plain, list) and any(map(_has_pickles, plain))
