"""What files from others try: code that a pickle would run, and the network."""

import socket
from pathlib import Path
from typing import Any

import pytest


class Touch:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes each attempt to reach the network fail the test, also one whose error is caught."""

    def refuse(*arguments: Any, **options: Any) -> Any:
        pytest.fail(f"the network was tried: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
