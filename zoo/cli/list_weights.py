"""The rows of `train.py list weights`: pretrained weights on this machine, and what the others cost."""

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import constants

from zoo.networks.pretrained import package_tensors
from zoo.networks.weights import shared_tensors
from zoo.utils import weight_packages
from zoo.utils.hub import cached_file
from zoo.utils.package_files import shipped_backbones
from zoo.utils.weight_packages import WeightPackage, installed_file

Row = tuple[str, ...]
TITLES = ("NETWORK", "FROM", "STATE", "COST", "HOW")


def weights() -> list[Row]:
    """Pretrained weights by network: shipped backbones, packages, and the cache of the hub."""
    return [TITLES, *_shipped(), *(row for package in weight_packages.PACKAGES for row in _ways(package)), *_cached()]


def _shipped() -> Iterator[Row]:
    for name, path in shipped_backbones().items():
        try:
            shared_tensors(path)
            state = "here, verified"
        except ValueError:
            state = "CHANGED, refused"
        network = name.removesuffix(".safetensors").rpartition("-")[0]
        yield network, "this package", state, "", f"weights: {name}"


def _ways(package: WeightPackage) -> Iterator[Row]:
    """The package itself, and the hub."""
    use = "pretrained: true" if package.kind == "image" else f"model: {package.network}"
    state = _package_state(package)
    how, cost = (use, "") if state == "here, verified" else (package.install, f"{package.megabytes} MB")
    yield f"{package.network} ({package.about})", package.name, state, cost, how
    cached = cached_file(package.hub, ["model.safetensors"])
    size = "" if cached else f"{package.hub_megabytes} MB"
    yield package.network, f"hub: {package.hub}", "here" if cached else "not here", size, use


def _package_state(package: WeightPackage) -> str:
    try:
        file = installed_file(package)
        if file is None:
            return "not installed"
        package_tensors(package, file)
    except ValueError:
        return "CHANGED, refused"
    return "here, verified"


def _cached() -> Iterator[Row]:
    """Other networks of timm in the cache of the hub."""
    known = {package.hub for package in weight_packages.PACKAGES}
    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--timm--*")):
        repository = folder.name.removeprefix("models--").replace("--", "/")
        if repository not in known and cached_file(repository, ["model.safetensors", "pytorch_model.bin"]):
            yield repository.removeprefix("timm/"), f"hub: {repository}", "here", "", "pretrained: true"
