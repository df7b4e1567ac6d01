"""The server process, by uvicorn: connections are bounded in number and patience, and SIGTERM finishes requests."""

import asyncio
import math
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from zoo.serving.limits import Limits

IDLE = 5  # seconds that a connection may stay open between two requests
MOMENT = 1.0  # seconds that a new connection has for its request while the server stops
CONNECTIONS = 100  # beside those whose requests are received or answered


def impatient(seconds: float) -> type[H11Protocol]:
    """Uvicorn's protocol, which closes a connection whose headers are not complete after some seconds.

    uvicorn itself waits for them without end, so that idle connections could take all places.
    """

    class Impatient(H11Protocol):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def shutdown(self) -> None:
            """Ends the connection; one that is new has a moment left, as its request may be on the way."""
            if self.cycle is None:
                self._stop()
                self.timer = self.loop.call_later(MOMENT, self.transport.close)
            else:
                super().shutdown()

        def _watch(self) -> None:
            """Starts the timer if headers are expected and none runs; stops it once they are there."""
            if self.conn.their_state is not h11.IDLE:
                self._stop()
            elif self.timer is None:
                self.timer = self.loop.call_later(seconds, self.transport.close)

        def _stop(self) -> None:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None

    return Impatient


class Server(uvicorn.Server):
    """uvicorn's server, which returns after a signal; uvicorn itself would raise the signal again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals while the server runs, if it runs in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def bind(host: str, port: int) -> socket.socket:
    """Takes a port, without listening yet: connections are refused until the server runs.

    Args:
        host: address to listen on.
        port: to listen on; 0 for a free one.

    Raises:
        OSError: the address is not of this computer, or the port is taken.
    """
    taken = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
    except OSError as error:
        taken.close()
        reason = error.strerror or error
        raise OSError(f"cannot listen on {host}:{port} ({reason}); choose another --port or --host.") from None
    return taken


def server_of(app: Any, limits: Limits) -> Server:
    """A server for an application.

    `run(sockets=[...])` returns after SIGTERM or SIGINT, when all requests are answered.

    Args:
        app: by `zoo.serving.app.create_app`.
        limits: as those of the application.
    """
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=impatient(limits.upload_seconds),
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=math.ceil(limits.upload_seconds + limits.seconds) + 1,
        limit_concurrency=limits.uploads + limits.queue + CONNECTIONS,
        backlog=128,
    )
    return Server(config)
