"""The way of a request: its body, its inputs, the model, the answer, each within bounds."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from zoo.serving.engine import Engine, Job
from zoo.serving.inputs import Named, read_inputs
from zoo.serving.limits import Limits, Refusal, busy, too_late
from zoo.serving.metrics import Metrics
from zoo.serving.service import Kind, Service
from zoo.serving.uploads import drain, read_upload
from zoo.utils.printable import printable

T = TypeVar("T")
LOG = logging.getLogger("uvicorn.error")


class Desk:
    """Answers requests; all methods are for the thread of the event loop.

    Args:
        service: answers of the model.
        limits: of the server.
        engine: runs the model.
        metrics: counts.
    """

    def __init__(self, service: Service, limits: Limits, engine: Engine, metrics: Metrics) -> None:
        self.service, self.limits, self.engine, self.metrics = service, limits, engine, metrics
        self.uploading = self.pending = 0

    async def answer(
        self, request: Request, kind: Kind, finish: Callable[[Sequence[Named], Any], str], most: int | None = None
    ) -> str:
        """The answer to one request.

        Args:
            request: whose body has the inputs.
            kind: what is asked.
            finish: makes the answer of the inputs and their part of a result, in the thread of the model.
            most: inputs that a request may have; by default those of the limits.

        Raises:
            Refusal: it has none.
        """
        deadline = time.monotonic() + self.limits.seconds
        upload = await self._upload(request)
        with self._place():
            try:
                domain, rows = self.service.model.domain, self.limits.rows if most is None else most
                read = self.engine.read(lambda: read_inputs(upload, domain, self.limits, rows), deadline)
                named = await _within(read, deadline)
                job = Job(kind, [one.reading for one in named], deadline, lambda result: finish(named, result))
                return await _within(self.engine.submit(job), deadline)
            except Refusal:
                raise
            except TimeoutError:
                raise too_late(self.limits.seconds) from None
            except (ValueError, ArithmeticError) as error:  # what models raise for an input that they cannot explain
                raise _unexplained(error) from None
            except Exception:  # a fault of the model or the server: logged, and the answer has no details of it
                self.metrics.failures += 1
                LOG.exception("a request failed")
                raise broken() from None

    async def _upload(self, request: Request) -> Any:
        if self.uploading >= self.limits.uploads:
            await drain(request, self.limits)
            raise busy("are being received", self.limits.uploads)
        self.uploading += 1
        try:
            return await read_upload(request, self.service.model.domain, self.limits)
        except ClientDisconnect:
            raise Refusal(400, "a connection that was closed", "a complete body", "Send it again.") from None
        finally:
            self.uploading -= 1

    @contextmanager
    def _place(self) -> Iterator[None]:
        """A place among the requests that are answered."""
        if self.pending >= self.limits.queue:
            raise busy("wait for an answer", self.limits.queue)
        self.pending += 1
        try:
            yield
        finally:
            self.pending -= 1

    def gauges(self) -> dict[str, tuple[str, int]]:
        """What the metrics show of the present state."""
        return {
            "zoo_uploads": ("requests whose bodies are being received", self.uploading),
            "zoo_pending": ("requests that are read, wait for the model or are answered", self.pending),
            "zoo_queue": ("requests that wait for the model", self.engine.waiting),
        }


async def _within(future: "Future[T]", deadline: float) -> T:
    return await asyncio.wait_for(asyncio.wrap_future(future), max(deadline - time.monotonic(), 0))


def _unexplained(error: Exception) -> Refusal:
    return Refusal(422, printable(error)[:1000], "an input that the model can explain", "Correct the input.")


def broken() -> Refusal:
    """The answer to a request that met a fault of the server."""
    return Refusal(500, "an error in the server", "an answer", "Tell whoever runs the server; its log has the details.")
