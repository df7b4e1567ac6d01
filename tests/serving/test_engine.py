"""Requests that wait share a pass of the model, and none depends on another."""

import threading
import time

import pytest
import torch

from zoo.domain.inputs import Reading
from zoo.serving.engine import Engine, Job


def test_requests_that_wait_share_a_pass_and_a_faulty_one_fails_alone() -> None:
    go, passes = threading.Event(), []

    def work(kind: str, readings: list[Reading]) -> torch.Tensor:
        assert go.wait(20)
        passes.append((kind, len(readings)))
        if any(reading.text == "bad" for reading in readings):
            raise ValueError("bad")
        return torch.stack([reading.x for reading in readings])

    engine = Engine(work, batch=8)
    late = time.monotonic() + 20

    def job(kind: str, *values: float, text: str = "", deadline: float = late) -> Job:
        return Job(kind, [Reading(torch.tensor(v), text, ()) for v in values], deadline, lambda found: found.tolist())

    first = engine.submit(job("a", 0))
    while engine.waiting:  # until it is taken, alone
        time.sleep(0.001)
    jobs = [job("a", i, i + 0.5) for i in range(1, 4)]
    jobs += [job("b", 9), job("a", 4, text="bad"), job("a", *range(20)), job("a", 5, deadline=0)]
    answers = [engine.submit(one) for one in jobs]
    gone = engine.submit(job("a", 7))
    assert gone.cancel()
    go.set()
    engine.close()
    assert first.result() == [0] and [one.result() for one in answers[:4]] == [[1, 1.5], [2, 2.5], [3, 3.5], [9]]
    assert answers[5].result() == list(range(20))
    with pytest.raises(ValueError, match="bad"):
        answers[4].result()
    with pytest.raises(TimeoutError):
        answers[6].result()
    assert passes[:2] == [("a", 1), ("a", 7)] and ("a", 20) in passes and sum(n for _, n in passes[2:6]) == 7
    with pytest.raises(RuntimeError):
        engine.submit(jobs[0])
