"""Errors of libraries that a user of the command line sees are said in plain words."""

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException

from zoo.cli.training_run import plain_errors

GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] "
LOST = (
    f"{GLOO}Connection closed by peer [127.0.0.1]:20914",
    f"{GLOO}Read error [127.0.0.1]:3011: Connection reset by peer",
    "NCCL error in: ProcessGroupNCCL.cpp:2251, remote process exited\nncclRemoteError",
)


@pytest.mark.parametrize("message", LOST)
def test_the_end_of_another_process(message: str) -> None:
    with (
        pytest.raises(RuntimeError, match=r"another process .* has ended.*--ckpt_path last"),
        plain_errors(),
    ):
        raise RuntimeError(message)


def test_other_errors() -> None:
    with pytest.raises(RuntimeError, match=r"^shape mismatch$"), plain_errors():
        raise RuntimeError("shape mismatch")
    with pytest.raises(ValueError, match="devices"), plain_errors():
        raise MisconfigurationException("no such devices")
