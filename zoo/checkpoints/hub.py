"""Checkpoints on the Hugging Face hub: fetched as files, read like any other; nothing that they name is imported."""

import argparse
import tempfile
from pathlib import Path

from zoo.checkpoints.checkpoint import (
    ABOUT,
    CONFIG,
    GOLDEN,
    SHARED,
    WEIGHTS,
    load,
    read_config,
    read_tensors,
    save,
    verify,
)
from zoo.checkpoints.model_card import CARD
from zoo.checkpoints.pretrained import find, list_checkpoints

FILES = [CONFIG, WEIGHTS, GOLDEN, CARD]


def fetch(name: str) -> Path:
    """The local folder of "owner/name" or "owner/name@revision", downloaded unless it is there already.

    Raises:
        ValueError: not such a name.
        ConnectionError: it could not be had; the message names what is on this machine.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    repository, _, revision = name.partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise ValueError(f"a checkpoint of the hub is hub:owner/name or hub:owner/name@revision; got 'hub:{name}'.")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=FILES))
    except HFValidationError as error:
        raise ValueError(f"'hub:{name}' is no name of the hub ({error}).") from error
    except Exception as error:  # the client's own, and those of the HTTP library below it, which change with versions
        here = ", ".join(list_checkpoints()) or "none"
        raise ConnectionError(
            f"could not get '{name}' from the hub ({type(error).__name__}). Check the name and the network, or take a "
            f"checkpoint of this machine: a folder, or by name ({here})."
        ) from error


def push_to_hub(arguments: list[str]) -> int:
    """Uploads a checkpoint to the Hugging Face hub, after checking it; needs `hf auth login` once."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    parser = argparse.ArgumentParser("train.py push-to-hub", description=push_to_hub.__doc__)
    parser.add_argument("--checkpoint", required=True, help="folder or name of a checkpoint")
    parser.add_argument("--repository", required=True, metavar="OWNER/NAME", help="where to; made if it is not there")
    parser.add_argument("--private", action="store_true", help="make the repository a private one")
    options = parser.parse_args(arguments)
    if options.repository.count("/") != 1:
        raise ValueError(f"--repository must be OWNER/NAME; got '{options.repository}'.")
    folder = find(options.checkpoint)
    verify(folder)
    with tempfile.TemporaryDirectory() as place:
        whole = self_contained(folder, Path(place))
        try:
            api = HfApi()
            api.create_repo(options.repository, private=options.private, exist_ok=True)
            api.upload_folder(repo_id=options.repository, folder_path=whole, allow_patterns=FILES)
        except HFValidationError as error:
            raise ValueError(f"'{options.repository}' is no name of the hub ({error}).") from error
        except Exception as error:  # as in `fetch`: without a network, the HTTP library's own, which is no OSError
            raise ConnectionError(
                f"could not upload to '{options.repository}' ({type(error).__name__}: {error}). Log in with `hf auth "
                "login`, and check the name and the network."
            ) from error
    print(f"uploaded {folder} -> load it with zoo.load('hub:{options.repository}')")
    return 0


def self_contained(folder: Path, place: Path) -> Path:
    """The checkpoint, or if it shares a backbone with others, a copy in `place` that has it."""
    config = read_config(folder)
    if SHARED not in config:
        return folder
    golden = read_tensors(folder / GOLDEN)["inputs"]
    told = {"metrics": config["metrics"], "about": config.get(ABOUT)}
    return save(load(folder), place / folder.name, golden=golden, **told)
