"""Shared by all tests: hypothesis profiles, real data where it is at hand, quiet training."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.processes import Server

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread each: more wait for one another on tensors as small as these
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
    torch.set_num_threads(1)

if "ZOO_DATA" not in os.environ:
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    if beside.is_dir():
        os.environ["ZOO_DATA"] = str(beside)


@pytest.fixture(scope="session")
def zoo_data() -> Path:
    """The folder of real data; tests that need it are skipped without."""
    folder = os.environ.get("ZOO_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data is not at hand: set ZOO_DATA to a folder that has it")
    return Path(folder)


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[Server, Server]]:
    """Two, whose sets are in different orders."""
    both = Server(1), Server(2)
    yield both
    for server in both:
        server.close()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
