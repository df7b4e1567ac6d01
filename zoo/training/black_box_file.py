"""The file of a trained black box, from which it can teach other models: weights and arguments, nothing to execute."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.networks.target_units import in_target_units
from zoo.networks.weights import without_weights
from zoo.utils.paths import check_file

FILE = "black_box.safetensors"  # in the folder of a run
GROUPS = ("backbone", "head")


class Network(nn.Module):
    """What a black box computes: an encoder with a linear head.

    Args:
        domain: what inputs and outputs mean.
        backbone: see `zoo.networks.encoders.create_encoder`.

    Attributes:
        spec: the backbone as given, without weights that it names.
    """

    def __init__(self, domain: Domain, backbone: str | dict[str, Any]) -> None:
        super().__init__()
        self.domain, self.spec = domain, backbone
        self.backbone = create_encoder(backbone, domain)
        self.head = in_target_units(nn.Linear(self.backbone.channels, len(domain.classes)), domain)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, C)."""
        return self.head(self.backbone(x))


def save_network(model: nn.Module, arguments: Mapping[str, Any], folder: Path) -> Path:
    """Writes a black box to one safetensors file in a folder, and returns its path.

    Args:
        model: a `zoo.training.black_box.BlackBox`.
        arguments: of its constructor, as plain data.
        folder: of the file.
    """
    tensors = {k: v.detach().contiguous().cpu() for k, v in model.state_dict().items() if k.split(".")[0] in GROUPS}
    kept = {name: arguments[name] for name in ("domain", "backbone")}
    encoder = getattr(model, "backbone", None)
    if isinstance(encoder, HuggingFaceText):  # described by its config, so that it is built without its files
        kept["backbone"] = {**kept["backbone"], **encoder.spec}
    save_file(tensors, folder / FILE, {"arguments": json.dumps(kept)})
    return folder / FILE


def load_network(path: Path) -> Network:
    """The black box of a file that `save_network` wrote, in evaluation mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or not one of a black box.
    """
    check_file(path, "black box")
    try:
        with safe_open(path, "pt") as file:
            arguments = json.loads(file.metadata()["arguments"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        backbone = without_weights(arguments["backbone"], "backbone")
        network = Network(Domain.from_dict(arguments["domain"]), backbone)
        network.load_state_dict(tensors)
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} is not an intact black box of `train.py fit` ({error}); train it again.") from error
    return network.eval()
