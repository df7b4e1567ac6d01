"""The Hugging Face hub: what its local cache holds, and whether it answers, which is known within seconds."""

import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

PATIENCE = 5.0  # seconds; the hub's own client retries for minutes


def cached_file(repository: str, names: Iterable[str]) -> str | None:
    """The first of some files of a repository that is in the local cache of the hub; None if there is none.

    Args:
        repository: such as "timm/resnet18.a1_in1k", or with "@revision".
        names: of the files.
    """
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = repository.partition("@")
    found = (try_to_load_from_cache(repository, name, revision=revision or None) for name in names)
    return next((path for path in found if isinstance(path, str)), None)


def require_model(name: str, files: Iterable[str], what: str, remedy: str) -> None:
    """Checks that a model of the hub is cached or can be downloaded; passes for a local path.

    Args:
        name: of a repository, or a path.
        files: of which the cache must hold one.
        what: the model for the message, such as "text encoder 'bert-base-uncased'".
        remedy: see `require_hub`.

    Raises:
        FileNotFoundError: see `require_hub`.
    """
    named = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) and not Path(name).exists()
    if named and cached_file(name, files) is None:
        require_hub(what, remedy)


def require_hub(what: str, remedy: str) -> None:
    """Checks that the hub can be reached, before its client would retry for minutes.

    Args:
        what: subject of the message: what is not in the cache.
        remedy: what to do without a network, for the message.

    Raises:
        FileNotFoundError: it cannot be reached, or HF_HUB_OFFLINE is set.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise FileNotFoundError(f"{what} is not in the cache of the hub, and HF_HUB_OFFLINE is set. {remedy}")
    if not _answers(constants.ENDPOINT):
        raise FileNotFoundError(
            f"{what} is not in the cache of the hub, and {constants.ENDPOINT} cannot be reached (HF_HUB_OFFLINE=1 "
            f"skips this check). {remedy}"
        )


def _answers(url: str) -> bool:
    """Whether a server answers, with whatever status."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE).close()
        except urllib.error.HTTPError:
            answered.set()
        except OSError:
            return
        answered.set()

    # In a thread, because the timeout does not apply to the resolution of the name.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return answered.is_set()
