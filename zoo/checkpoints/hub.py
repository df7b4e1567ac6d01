"""Checkpoints on the Hugging Face hub: downloaded as files and read like any other; no code of a repository is run."""

import tempfile
from pathlib import Path

from zoo.checkpoints.config_file import ABOUT, CERTIFICATE, CONFIG, GOLDEN, SHARED, STORAGE, WEIGHTS, read_config
from zoo.checkpoints.load import load
from zoo.checkpoints.model_card import CARD
from zoo.checkpoints.save import save
from zoo.checkpoints.shipped import list_checkpoints
from zoo.checkpoints.tensor_files import read_tensors
from zoo.checkpoints.verify import verify
from zoo.core.certificate import Certificate

FILES = [CONFIG, WEIGHTS, GOLDEN, CARD]


def fetch(name: str) -> Path:
    """The local folder of the checkpoint "owner/name" or "owner/name@revision", downloaded unless it is cached.

    Raises:
        ValueError: the name has another form.
        ConnectionError: the download failed; the message lists the checkpoints of this machine.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    repository, _, revision = name.partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise ValueError(f"a checkpoint of the hub is hub:owner/name or hub:owner/name@revision; got 'hub:{name}'.")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=FILES))
    except HFValidationError as error:
        raise ValueError(f"'hub:{name}' is not a valid name of the hub ({error}).") from error
    except Exception as error:  # also those of the HTTP library, which differ between versions of the client
        here = ", ".join(list_checkpoints()) or "none"
        raise ConnectionError(
            f"download of '{name}' failed ({type(error).__name__}). Check the name and the network, or use a local "
            f"checkpoint: a folder or a name ({here})."
        ) from error


def push(folder: Path, repository: str, *, private: bool = False) -> None:
    """Verifies a checkpoint and uploads it to `repository`, which is created if it does not exist.

    Raises:
        ValueError, OSError, ArithmeticError: the checkpoint is damaged, see `zoo.checkpoints.verify`; or the name of
            the repository is not valid.
        ConnectionError: the upload failed.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    verify(folder)
    with tempfile.TemporaryDirectory() as place:
        upload = self_contained(folder, Path(place))
        try:
            api = HfApi()
            api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=upload, allow_patterns=FILES)
        except HFValidationError as error:
            raise ValueError(f"'{repository}' is not a valid name of the hub ({error}).") from error
        except Exception as error:  # as in `fetch`
            raise ConnectionError(
                f"upload to '{repository}' failed ({type(error).__name__}: {error}). Log in with `hf auth login`, "
                "and check the name and the network."
            ) from error


def self_contained(folder: Path, place: Path) -> Path:
    """The checkpoint itself, or a copy in `place` with its own backbone if it shares one.

    Raises:
        ValueError: its weights are rounded, and those of the shared backbone are not.
    """
    config = read_config(folder)
    if SHARED not in config:
        return folder
    if STORAGE in config:
        raise ValueError(
            f"{folder} has rounded weights and shares a backbone, which would have to be rounded, too; upload what "
            "`train.py shrink` writes to a folder that is not beside the original."
        )
    golden = read_tensors(folder / GOLDEN)["inputs"]
    known = Certificate.from_dict(config[CERTIFICATE]) if CERTIFICATE in config else None
    return save(
        load(folder),
        place / folder.name,
        golden=golden,
        metrics=config["metrics"],
        about=config.get(ABOUT),
        certificate=known,
    )
