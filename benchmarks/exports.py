"""Exports every shipped checkpoint as ONNX and as .pt2, and compares the files with it: `python -m benchmarks.exports`.

Each program is run on the golden inputs of the checkpoint, on two batch sizes. Writes benchmarks/EXPORTS.md and .json
after each checkpoint; those in the .json are kept, so an interrupted command resumes. About 15 seconds for each.
"""

import argparse
import json
import tempfile
from pathlib import Path

import zoo
from zoo.checkpoints.config_file import GOLDEN
from zoo.checkpoints.export import FORMATS, export
from zoo.checkpoints.golden import golden_inputs
from zoo.checkpoints.load import load
from zoo.checkpoints.pretrained import find
from zoo.checkpoints.tensor_files import read_tensors

HERE = Path(__file__).parent


def main() -> int:
    """Returns 0 if every checkpoint can be exported in both formats."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="checkpoints (default: all)")
    parser.add_argument("--output", type=Path, default=HERE / "EXPORTS", help="file without ending")
    options = parser.parse_args()
    numbers = options.output.with_suffix(".json")
    record = json.loads(numbers.read_text(encoding="utf-8")) if numbers.is_file() else {}
    for name in options.only or zoo.list_checkpoints():
        if name not in record:
            record[name] = {form: exported(name, form) for form in FORMATS}
            numbers.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            options.output.with_suffix(".md").write_text(report(record), encoding="utf-8")
            print(name, record[name], flush=True)
    return int(any("reason" in one for found in record.values() for one in found.values()))


def exported(name: str, form: str) -> dict[str, float | str]:
    """Size and largest difference of an exported checkpoint, or the reason why it cannot be exported."""
    folder = find(name)
    model = load(folder)
    inputs = golden_inputs(model, read_tensors(folder / GOLDEN)["inputs"])
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / f"model.{form}"
        try:
            difference = export(model, inputs, file, form)
        except ValueError as error:
            return {"reason": str(error)}
        return {"difference": difference, "MB": file.stat().st_size / 1e6}


def report(record: dict[str, dict[str, dict[str, float | str]]]) -> str:
    """The record as Markdown."""
    good = {form: sum("reason" not in found[form] for found in record.values()) for form in FORMATS}
    said = " and ".join(f"{count} as {form}" for form, count in good.items())
    lines = [
        "# Exported checkpoints",
        "",
        f"{said} of {len(record)} checkpoints give the scores and explanations of the model. Cells: largest absolute "
        "difference of an output, size of the file.",
        "",
        f"| checkpoint | {' | '.join(FORMATS)} |",
        f"|---{'|---:' * len(FORMATS)}|",
    ]
    for name, found in sorted(record.items()):
        cells = ["no" if "reason" in one else f"{one['difference']:.2g}, {one['MB']:.1f} MB" for one in found.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    reasons = [one["reason"] for _, found in sorted(record.items()) for one in found.values() if "reason" in one]
    return "\n".join([*lines, "", *(f"- {reason}" for reason in reasons)]).rstrip() + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
