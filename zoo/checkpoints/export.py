"""Export of a model with its explanations, as ONNX or as a program of torch.export (.pt2).

The exported program takes a batch of inputs (B, ...) of any size B, prepared by the model's domain, and returns scores
and explanation as named tensors, see `OUTPUTS`. It is compared with the model before it is kept. Its metadata gives the
names of classes and units, and the domain.
"""

import json
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.core import registry
from zoo.core.module import ExplainingForward, SelfInterpretable
from zoo.utils.optional import need

OUTPUTS = ("scores", "target", "contributions", "bias", "activation", "support")
INPUT, METADATA = "input", "zoo.json"
FORMATS = ("onnx", "pt2")
TOLERANCE = 1e-4  # of the magnitude of an output
Program = Callable[[Tensor], Sequence[Tensor]]


class NamedForward(nn.Module):
    """The explaining forward as a module that returns a tuple of tensors, whose names are in `names`.

    Args:
        model: ready to explain.
        example: a batch of inputs, to find out which outputs the model has.
    """

    def __init__(self, model: SelfInterpretable, example: Tensor) -> None:
        super().__init__()
        self.explaining = ExplainingForward(model)
        with torch.no_grad():
            found = self.explaining(example)
        self.names = tuple(name for name in OUTPUTS if found[name] is not None)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The outputs for a batch (B, ...), in the order of `names`."""
        found = self.explaining(x)
        return tuple(found[name] for name in self.names)


def export(model: SelfInterpretable, inputs: Tensor, path: Path, form: str) -> float:
    """Writes a model with its explanations to a file, and compares the file with the model on two batch sizes.

    Args:
        model: ready to explain; it is moved to the CPU.
        inputs: (B, ...) to compare on.
        path: file to write, replaced if it exists.
        form: "onnx" or "pt2".

    Returns:
        the largest absolute difference of an output.

    Raises:
        ImportError: "onnx" needs the extra `onnx`.
        ValueError: the model cannot be exported, or the exported program differs from it; the message gives the reason
            and nothing is written.
    """
    forward = NamedForward(model.cpu(), inputs)
    write, read = (write_onnx, read_onnx) if form == "onnx" else (write_pt2, read_pt2)
    part = path.with_name(f".part-{path.name}")
    try:
        try:
            write(trace(forward, inputs), forward.names, part, metadata_of(model))
            program = read(part)
        except ImportError:
            raise
        except Exception as error:  # the exporters raise errors of many private types
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"{type(model).__name__} cannot be exported as {form}: {reason}") from error
        worst = compare(forward, program, inputs, f"{type(model).__name__} as {form}")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return worst


def trace(forward: NamedForward, inputs: Tensor) -> torch.export.ExportedProgram:
    """The program of a module for batches of any size."""
    example = inputs if len(inputs) > 1 else torch.cat([inputs, inputs])  # the tracer takes a size of 1 as a constant
    shapes = {"x": {0: torch.export.Dim("batch", min=1, max=2**20)}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer, about its own internals
        return torch.export.export(forward, (example,), dynamic_shapes=shapes, strict=False)


def metadata_of(model: SelfInterpretable) -> dict[str, Any]:
    """What names and numbers of the outputs mean, as plain data."""
    units = model.units()
    return {
        "model": registry.name_of(type(model)),
        "space": model.space,
        "classes": list(model.domain.classes),
        "units": [unit.name for unit in units],
        "kinds": [unit.kind for unit in units],
        "targets": [unit.target for unit in units],
        "domain": model.domain.to_dict(),
    }


def write_pt2(
    program: torch.export.ExportedProgram, names: Sequence[str], path: Path, metadata: dict[str, Any]
) -> None:
    """Writes a .pt2 archive; the names of the outputs are in its metadata."""
    text = json.dumps({**metadata, "outputs": list(names)})
    with warnings.catch_warnings():  # of tensors that share memory; the file is read again and compared
        warnings.filterwarnings("ignore", message="No complete tensor found in the group")
        torch.export.save(program, path, extra_files={METADATA: text})


def read_pt2(path: Path) -> Program:
    """The program in a .pt2 archive."""
    return torch.export.load(path).module()


def write_onnx(
    program: torch.export.ExportedProgram, names: Sequence[str], path: Path, metadata: dict[str, Any]
) -> None:
    """Writes an ONNX model in one file; input and outputs have their names in the graph."""
    need("onnxscript", "onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program, dynamo=True, input_names=[INPUT], output_names=list(names), external_data=False, verbose=False
        )
    assert made is not None
    made.model.metadata_props[METADATA] = json.dumps(metadata)
    made.save(path, external_data=False)


def read_onnx(path: Path) -> Program:
    """The program in an ONNX file, run by onnxruntime on the CPU."""
    return run_onnx(open_onnx(path))


def open_onnx(path: Path, threads: int = 0) -> Any:
    """A session of onnxruntime for an ONNX file; 0 threads are as many as there are cores."""
    runtime = need("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_onnx(session: Any) -> Program:
    """The program of a session."""
    return lambda x: [torch.from_numpy(found) for found in session.run(None, {INPUT: x.numpy()})]


def compare(forward: NamedForward, program: Program, inputs: Tensor, what: str) -> float:
    """Compares a program with a module on batches of B and B + 1 inputs; returns the largest difference.

    Raises:
        ValueError: an output has another shape, or differs by more than `TOLERANCE` of its magnitude.
    """
    worst = 0.0
    for x in (inputs, torch.cat([inputs, inputs[:1]])):
        with torch.no_grad():
            expected, found = forward(x), program(x)
        for name, want, got in zip(forward.names, expected, found, strict=True):
            if want.shape != got.shape:
                raise ValueError(
                    f"{what}: '{name}' has the shape {tuple(got.shape)} for {len(x)} inputs; expected "
                    f"{tuple(want.shape)}."
                )
            difference = float((want.double() - got.double()).abs().max()) if want.numel() else 0.0
            if difference > TOLERANCE * max(1.0, float(want.abs().max())):
                raise ValueError(f"{what}: '{name}' differs by {difference:.3g} from the model for {len(x)} inputs.")
            worst = max(worst, difference)
    return worst
