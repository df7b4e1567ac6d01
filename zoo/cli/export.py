"""`train.py export`: exports a checkpoint with its explanations, to run without this package."""

from pathlib import Path

from zoo.checkpoints.config_file import GOLDEN
from zoo.checkpoints.export import FORMATS, export
from zoo.checkpoints.golden import golden_inputs
from zoo.checkpoints.load import load
from zoo.checkpoints.pretrained import find
from zoo.checkpoints.tensor_files import read_tensors
from zoo.cli.arguments import CommandParser


def export_checkpoint(arguments: list[str]) -> int:
    """Exports a checkpoint, explanations included, as ONNX or as a program of torch.export.

    The outputs are scores, target, contributions, bias, activation and support, as far as the model has them, for
    batches of any size. The file is compared with the model on the golden inputs of the checkpoint.
    """
    parser = CommandParser("export", export_checkpoint.__doc__)
    parser.add_argument("--checkpoint", required=True, type=find, help="name or folder of a checkpoint")
    parser.add_argument("--format", required=True, choices=FORMATS, help="onnx, or pt2 for torch.export.load")
    parser.add_argument("--output", required=True, type=Path, help="file to write, such as model.onnx")
    options = parser.parse(arguments)
    if options.output.suffix != f".{options.format}":
        raise ValueError(f"--output must end in .{options.format}; got {options.output}.")
    model = load(options.checkpoint)
    inputs = golden_inputs(model, read_tensors(options.checkpoint / GOLDEN)["inputs"])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    difference = export(model, inputs, options.output, options.format)
    size = options.output.stat().st_size / 1e6
    print(f"exported {options.output} ({size:.1f} MB); largest difference from the model: {difference:.2g}")
    return 0
