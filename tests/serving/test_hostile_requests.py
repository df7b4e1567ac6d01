"""Hostile requests: each gets a clear answer within bounds, and the server goes on."""

import io
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("python_multipart")
pytest.importorskip("httpx2")

from PIL import Image

from tests.cli import hostile
from tests.hostile import no_network
from tests.serving.clients import client_of, error_of, service
from zoo.domain import GraphDomain
from zoo.serving.app import create_app
from zoo.serving.inputs import read_inputs
from zoo.serving.limits import Limits, Refusal
from zoo.serving.server import bind, server_of
from zoo.serving.service import Service
from zoo.serving.uploads import Upload

ROW = {"width": 1, "height": 2, "hue": 3}
KINDS = {
    "images": ("protopnet", "", hostile.images, ("good.png", hostile.encoded("PNG"))),
    "tables": ("nam", "", hostile.tables, ("good.csv", b"width,height,hue\n1,2,3\n")),
    "series": ("sop", "series", hostile.series, ("good.npy", hostile.array(torch.randn(11, 2).numpy()))),
    "texts": ("c3m", "", hostile.texts, ("good.txt", b"good food")),
    "prompts": ("sparse_transformer", "", hostile.prompts, ("good.py", b"for a")),
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return service(tmp_path_factory.mktemp("tables"), "nam")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return service(tmp_path_factory.mktemp("images"), "protopnet")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about damaged files
@pytest.mark.parametrize("kind", KINDS)
def test_no_file_stops_the_server(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, variant, files, (good, content) = KINDS[kind]
    answers = service(tmp_path, name, variant)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "private"))
    (tmp_path / "private").mkdir()
    refused = 0
    with client_of(answers) as client:
        first = client.post("/explain", files={"file": (good, content)}).json()["results"]
        for file, bad in files():
            response = client.post("/explain", files={"file": (file, bad)})
            if response.status_code != 200:
                assert 400 <= response.status_code < 500, (file, response.text)
                error_of(response, response.status_code)
                refused += 1
            assert str(tmp_path) not in response.text
        assert client.post("/explain", files={"file": (good, content)}).json()["results"] == first
        assert "zoo_failures_total 0\n" in client.get("/metrics").text
    assert refused > 2 and not list((tmp_path / "private").iterdir())


def test_what_is_too_large_is_refused_before_it_is_read(images: Service, tables: Service) -> None:
    wide = hostile.png(9000, 9000, b"")
    jpeg = io.BytesIO()
    Image.new("RGB", (10, 12)).save(jpeg, "JPEG", progressive=True)
    with client_of(images, body=10**5) as client:
        assert "9000 × 9000 pixels" in error_of(client.post("/explain?name=a.png", content=wide), 413)["got"]
        for name in ("bomb.png", "huge.png"):
            bomb = dict(hostile.images())[name]
            assert "pixels" in error_of(client.post(f"/explain?name={name}", content=bomb), 413)["got"]
        scans = jpeg.getvalue()[:-2] + b"\xff\xda" * 200
        assert "scans" in error_of(client.post("/explain?name=a.jpg", content=scans), 422)["got"]
        assert client.post("/explain?name=a.jpg", content=jpeg.getvalue()).status_code == 200
        assert "100001" in error_of(client.post("/explain?name=a.png", content=bytes(100_001)), 413)["got"]
        response = client.post("/explain?name=a.png", content=bytes(500_000))
        assert "more than" in error_of(response, 413)["got"] and response.headers["connection"] == "close"
    with client_of(tables, rows=3, page_rows=2, cells=1000, columns=50) as client:
        assert client.post("/explain", json=[ROW] * 3).status_code == 200
        assert "4 inputs" in error_of(client.post("/explain", json=[ROW] * 4), 413)["got"]
        assert "3 inputs" in error_of(client.post("/page", json=[ROW] * 3), 413)["got"]
        rows = "width,height,hue\n" + "1,2,3\n" * 9
        assert "10 lines" in error_of(client.post("/explain?name=a.csv", content=rows), 413)["got"]
        assert "columns" in error_of(client.post("/explain?name=a.csv", content="a," * 60), 413)["got"]
        assert "cells" in error_of(client.post("/explain?name=a.csv", content="\n" * 1001), 413)["got"]
        assert "cells" in error_of(client.post("/explain", json=[[]] * 1002), 413)["got"]


def test_long_texts_are_refused(tmp_path: Path) -> None:
    with client_of(service(tmp_path, "c3m"), characters=100) as client:
        assert client.post("/explain", json={"text": "good " * 20}).status_code == 200
        assert "105 characters" in error_of(client.post("/explain", json={"text": "good " * 21}), 413)["got"]
        error_of(client.post("/explain?name=a.txt", content="good " * 81), 413)
        error_of(client.post("/explain?name=a.csv", content=f"text\n{'good ' * 21}\n"), 413)


def test_long_molecules_are_refused_before_their_rings_are_sought() -> None:
    pytest.importorskip("rdkit")
    domain = GraphDomain(classes=("a", "b"), features=("element = C",), nodes=9, edges=9, smiles="smiles")
    for upload in (
        Upload(texts=("C1CC1" * 40,)),
        Upload("a.smi", b"C\n" + b"C1CC1" * 400),
        Upload("a.csv", b"smiles\n" + b"C1CC1" * 400),
    ):
        with pytest.raises(Refusal, match="180"):
            read_inputs(upload, domain, Limits(), 9)
    for good in (Upload("a.smi", b"CCO ethanol\nC\n"), Upload(texts=("CCO", "C"))):
        assert [one.reading.text for one in read_inputs(good, domain, Limits(), 9)] == ["CCO", "C"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "..\\..\\etc\\passwd", "file:///etc/passwd", "\0", ""])
def test_names_are_not_paths(images: Service, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    with client_of(images) as client:
        error = error_of(client.post("/explain", files={"file": (name, b"x")}), 415 if name else 400)
        assert "etc" not in error["got"]
        good = client.post("/explain", files={"file": (f"{name}a.png", hostile.encoded("PNG"))})
        assert good.status_code == 200 and "etc" not in good.text
        for url in ("http://127.0.0.1:9/a.png", "/dev/zero", "a\r\nb.png"):
            assert client.post("/explain", params={"name": url}, content=b"x").status_code in (415, 422)


def test_broken_bodies(tables: Service, images: Service) -> None:
    head = {"content-type": "application/json"}
    form = {"content-type": "multipart/form-data; boundary=x"}
    with client_of(tables) as client:
        other = (b'{"rows": 3}', b'[{"width": NaN}]', b'[{"a": [1]}]')
        for body in (b"", b"{", b"[]", b"3", b"\xff", b"[" * 10**5, *other):
            error_of(client.post("/explain", content=body, headers=head), 400)
        for body in (b'[{"width": 1, "height": 2, "hue": 1e999}]', b'[{"width": "nan", "height": 2, "hue": "inf"}]'):
            error_of(client.post("/explain", content=body, headers=head), 422)
        digits = b'[{"width": %s}]' % (b"9" * 5000)
        assert client.post("/explain", content=digits, headers=head).status_code in (400, 422)
        error_of(client.post("/explain?name=a.csv", content="width,height,hue\n1,nan,3\n"), 422)
        for body in (b"", b"--x", b"--x\r\n\r\n\r\n--x--", b"--x\r\n" + b"a" * 10**5, b"--y--"):
            error_of(client.post("/explain", content=body, headers=form), 400)
        error_of(client.post("/explain", content=b"x", headers={"content-type": "multipart/form-data"}), 400)
        error_of(client.post("/explain", files=[("file", ("a.csv", b"x")), ("file", ("b.csv", b"x"))]), 400)
        error_of(client.post("/explain", content=b"x"), 415)
        error_of(client.post("/explain?name=a.png", content=b"x"), 415)
        error_of(client.post("/explain?name=a.csv&top=0", content=b"x"), 422)
        error_of(client.post("/explain?target=nobody", json=[ROW]), 422)
        error_of(client.post("/explain?target=99", json=[ROW]), 422)
        error_of(client.get("/explain"), 405)
        error_of(client.get("/%2e%2e/etc/passwd"), 404)
        assert client.post("/explain", json=[ROW]).status_code == 200
    with client_of(images) as client:
        error_of(client.post("/explain", json=[ROW]), 415)


def test_a_model_that_fails_answers_without_details(tables: Service, caplog: pytest.LogCaptureFixture) -> None:
    def explain(*question):
        raise RuntimeError("/secret/path")

    with client_of(Service(tables.model, "x", explain, 8, "en")) as client:
        response = client.post("/explain", json=[ROW])
        assert "secret" not in response.text and error_of(response, 500)
        assert "/secret/path" in caplog.text and "zoo_failures_total 1\n" in client.get("/metrics").text
        assert client.post("/predict", json=[ROW]).status_code == 200


@contextmanager
def blocked(answers: Service) -> Iterator[SimpleNamespace]:
    """The same answers, given as soon as `go` is set; `asked` is set when the model is asked."""
    state = SimpleNamespace(go=threading.Event(), asked=threading.Event())

    def explain(*question):
        state.asked.set()
        assert state.go.wait(20)
        return answers.explain(*question)

    state.service = Service(answers.model, "x", explain, 8, "en")
    try:
        yield state
    finally:
        state.go.set()


def test_a_full_queue_refuses_and_recovers(tables: Service) -> None:
    found: list = []
    with blocked(tables) as state, client_of(state.service, queue=2, seconds=20) as client:
        threads = [
            threading.Thread(target=lambda: found.append(client.post("/explain", json=[ROW]).status_code))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        while client.get("/ready").status_code == 200:
            time.sleep(0.01)
        full = client.post("/explain", json=[ROW])
        assert "2 requests" in error_of(full, 503)["got"] and full.headers["retry-after"] == "1"
        assert "zoo_pending 2\n" in client.get("/metrics").text and client.get("/health").status_code == 200
        state.go.set()
        for thread in threads:
            thread.join()
        assert found == [200, 200] and client.post("/explain", json=[ROW]).status_code == 200
        assert client.get("/ready").status_code == 200


def test_who_waits_too_long_is_told_so(tables: Service) -> None:
    with blocked(tables) as state, client_of(state.service, seconds=0.2) as client:
        assert "0.2 s" in error_of(client.post("/explain", json=[ROW]), 504)["got"]
        error_of(client.post("/explain", json=[ROW]), 504)
        state.go.set()
        deadline = time.monotonic() + 20
        while client.post("/explain", json=[ROW]).status_code != 200:
            assert time.monotonic() < deadline


@contextmanager
def listening(answers: Service, **limits: float) -> Iterator[SimpleNamespace]:
    """A real server in a thread."""
    bounds = replace(Limits(), **limits)
    taken = bind("127.0.0.1", 0)
    address = taken.getsockname()
    server = server_of(create_app(answers, bounds), bounds)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    with pytest.raises(OSError, match=rf"cannot listen on 127.0.0.1:{address[1]} .*; choose another --port"):
        bind(*address)
    try:
        yield SimpleNamespace(server=server, thread=thread, address=address)
    finally:
        server.should_exit = True
        thread.join()


def send(address: tuple, content: bytes) -> socket.socket:
    opened = socket.create_connection(address, timeout=20)
    opened.sendall(content)
    return opened


def received(opened: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    with opened:
        found = b""
        while part := opened.recv(2**16):
            found += part
    return found


def test_slow_senders_are_left_and_begun_requests_are_finished_at_the_end(tables: Service) -> None:
    body = json.dumps(ROW).encode()
    head = b"POST /explain HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
    whole = head + b"content-length: %d\r\n\r\n" % len(body) + body
    with blocked(tables) as state, listening(state.service, upload_seconds=0.5) as real:
        slow_body = send(real.address, head + b"content-length: 1000\r\n\r\n{")
        slow_head = send(real.address, b"POST /explain HTTP/1.1\r\nx: ")
        silent = send(real.address, b"")
        noise = send(real.address, b"\x16\x03\x01" + hostile.noise(200) + b"\r\n\r\n")
        assert received(slow_body).startswith(b"HTTP/1.1 408 ") and received(slow_head) == received(silent) == b""
        assert received(noise).startswith(b"HTTP/1.1 400 ")
        begun = send(real.address, whole)
        assert state.asked.wait(20)
        real.server.should_exit = True
        time.sleep(0.3)
        assert real.thread.is_alive()
        state.go.set()
        answer = received(begun)
        assert answer.startswith(b"HTTP/1.1 200 ") and b'"results"' in answer
        real.thread.join(20)
        assert not real.thread.is_alive()
        with pytest.raises(OSError):
            send(real.address, whole)
