"""`train.py share-backbone`: stores the backbone of a run in a file that other models use."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.checkpoints.shared_backbone import FOLDER, write
from zoo.cli.arguments import CommandParser
from zoo.training.callbacks import read_checkpoint
from zoo.utils.yaml_files import dump_yaml

NETWORK = re.compile(r"^backbone\.(?:\w+\.)*?(?=network\.)")  # before the names of a `Backbone`
NOT_OF_THE_NETWORK = ("weights", "pretrained", "tune")


def share_backbone(arguments: list[str]) -> int:
    """Stores the image backbone of the best epoch of a run as a file for `weights`, in half precision."""
    parser = CommandParser("share-backbone", share_backbone.__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a run of fit, of any model")
    parser.add_argument("--output", type=Path, default=Path("checkpoints") / FOLDER, help="default: %(default)s")
    parser.add_argument("--full", action="store_true", help="keep float32, twice the size")
    options = parser.parse(arguments)
    file = next((f for name in ("best", "last") if (f := options.run / f"{name}.ckpt").is_file()), None)
    if file is None:
        raise FileNotFoundError(f"{options.run} has neither best.ckpt nor last.ckpt; give the folder of a run of fit.")
    content = read_checkpoint(file, mmap=True)
    tensors = backbone_tensors(content["state_dict"])
    if not tensors:
        raise ValueError(f"the model in {file} has no image backbone; give a run of another model.")
    if not options.full:
        tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    given: Any = content.get("hyper_parameters", {}).get("backbone", "backbone")
    spec = dict(given) if isinstance(given, Mapping) else {"name": given}
    written = write(tensors, str(spec.get("name", "backbone")), options.output)
    used = {key: value for key, value in spec.items() if key not in NOT_OF_THE_NETWORK} | {"weights": str(written)}
    print(f"wrote {written} ({written.stat().st_size / 1e6:.1f} MB). Use it in a config, with the same mean and std:")
    print(dump_yaml({"backbone": used}), end="")
    return 0


def backbone_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the one backbone in the state of a model, under their names in it."""
    return {NETWORK.sub("", name): tensor.contiguous() for name, tensor in state.items() if NETWORK.match(name)}
