"""The two threads of a server: one reads inputs, one runs the model, on all waiting requests at once."""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from zoo.domain.inputs import Reading

T = TypeVar("T")
Work = Callable[[Any, Sequence[Reading]], Any]


@dataclass(frozen=True, eq=False)
class Job:
    """The inputs of one request.

    Attributes:
        kind: jobs of one kind may share a pass of the model.
        readings: the inputs.
        deadline: by `time.monotonic`, after which nobody waits for the answer.
        finish: makes the answer of the job's part of a result.
        answer: is set by the thread of the model.
    """

    kind: Hashable
    readings: Sequence[Reading]
    deadline: float
    finish: Callable[[Any], Any]
    answer: Future = field(default_factory=Future)


class Engine:
    """Runs a model in a thread of its own, where requests that wait share a pass.

    Nothing waits to fill a batch: what has arrived during a pass is the next one. If a pass fails, each of its requests
    is tried alone, so that one at fault does not take the others with it.

    Args:
        work: the result for a kind and a batch of inputs, with a row for each, to be sliced.
        batch: inputs in one pass; a request with more has one of its own.
        threads: of PyTorch, within a pass.
        counted: is called with the number of inputs in each pass.
    """

    def __init__(
        self, work: Work, batch: int, threads: int = 1, counted: Callable[[int], None] = lambda inputs: None
    ) -> None:
        self.work, self.batch, self.threads, self.counted = work, batch, threads, counted
        self._waiting: deque[Job] = deque()
        self._change = threading.Condition()
        self._closed = False
        self._reader = ThreadPoolExecutor(1, "zoo-reader", initializer=lambda: torch.set_num_threads(1))
        self._thread = threading.Thread(target=self._run, name="zoo-model", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread of the model runs."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Requests that wait for the model."""
        return len(self._waiting)

    def read(self, reading: Callable[[], T], deadline: float) -> "Future[T]":
        """Runs `reading` in the thread that reads inputs, one after the other, unless its deadline is over by then."""

        def timely() -> T:
            if time.monotonic() > deadline:
                raise TimeoutError
            return reading()

        return self._reader.submit(timely)

    def submit(self, job: Job) -> Future:
        """Puts a job behind all others; returns its answer.

        Raises:
            RuntimeError: the engine is closed.
        """
        with self._change:
            if self._closed:
                raise RuntimeError("the engine is closed.")
            self._waiting.append(job)
            self._change.notify()
        return job.answer

    def close(self) -> None:
        """Finishes what waits, and ends both threads."""
        with self._change:
            self._closed = True
            self._change.notify()
        self._reader.shutdown(wait=True, cancel_futures=True)
        self._thread.join()

    def _run(self) -> None:
        torch.set_num_threads(self.threads)  # counts for the thread that calls it
        while jobs := self._next():
            self._answer(jobs)

    def _next(self) -> list[Job]:
        """The first waiting job, with those behind it of the same kind that fit into a pass; empty at the end."""
        with self._change:
            while True:
                while not self._waiting and not self._closed:
                    self._change.wait()
                if not self._waiting:
                    return []
                first, rest, count = None, deque[Job](), 0
                chosen: list[Job] = []
                for job in self._waiting:
                    fits = first is None or (job.kind == first.kind and count + len(job.readings) <= self.batch)
                    if not fits:
                        rest.append(job)
                    elif job.answer.set_running_or_notify_cancel():  # nobody waits for a cancelled one
                        if time.monotonic() > job.deadline:
                            job.answer.set_exception(TimeoutError())
                            continue
                        first = first or job
                        chosen.append(job)
                        count += len(job.readings)
                self._waiting = rest
                if chosen:
                    return chosen

    def _answer(self, jobs: list[Job]) -> None:
        try:
            inputs = [reading for job in jobs for reading in job.readings]
            self.counted(len(inputs))
            result = self.work(jobs[0].kind, inputs)
        except BaseException as error:  # the thread must go on, whatever a model raises
            if len(jobs) == 1:
                jobs[0].answer.set_exception(error)
                return
            for job in jobs:
                self._answer([job])
            return
        start = 0
        for job in jobs:
            end = start + len(job.readings)
            try:
                job.answer.set_result(job.finish(result[start:end]))
            except BaseException as error:
                job.answer.set_exception(error)
            start = end
