"""A server of a small model within the process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

import zoo
from tests.small_models import build
from zoo.checkpoints.load import load
from zoo.cli.serve import limits_of, parse, service_of
from zoo.serving.app import create_app
from zoo.serving.limits import Limits
from zoo.serving.service import Service


def service(folder: Path, name: str, variant: str = "") -> Service:
    """The answers of a small model, saved and loaded, as `train.py serve` makes them."""
    checkpoint = zoo.save(build(name, variant).model.eval(), folder / name)
    return service_of(load(checkpoint), name, parse(["--checkpoint", str(checkpoint)]))


@contextmanager
def client_of(answers: Service, **limits: Any) -> Iterator[TestClient]:
    bounds = Limits(**limits) if limits else limits_of(parse(["--checkpoint", "protopnet-mnist"]))
    with TestClient(create_app(answers, bounds), raise_server_exceptions=False) as client:
        yield client


def error_of(response: Any, status: int) -> dict[str, Any]:
    """The error of a response, which must have this status and all parts, and no traceback or path of the server."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"status", "got", "expected", "remedy"} and all(error.values()), error
    assert "Traceback" not in response.text and "/tmp" not in response.text and "zoo-" not in response.text
    return error
